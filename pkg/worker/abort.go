package worker

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// dieOnAbort makes SIGABRT, the end of a worker whose heartbeat is silent, print
// the stacks of all goroutines and end the process by that signal. It has a
// goroutine of its own, because what hangs may be the one that serves the other
// signals. The returned function ends that.
func dieOnAbort() (stop func()) {
	aborts := make(chan os.Signal, 1)
	signal.Notify(aborts, syscall.SIGABRT)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-aborts:
			abort()
		case <-quit:
		}
	}()
	return func() {
		signal.Stop(aborts)
		close(quit)
		<-done
	}
}

// abort lets the Go runtime do it: set to "crash" it prints all stacks and dies
// by SIGABRT instead of exiting with code 2. It passes SIGQUIT from thread to
// thread on the way and waits 10 s for each to answer, longer than the arbiter
// does, if SIGQUIT is caught: so that is given back first.
func abort() {
	debug.SetTraceback("crash")
	signal.Reset(syscall.SIGABRT, syscall.SIGQUIT)
	_ = syscall.Kill(os.Getpid(), syscall.SIGABRT)
	select {}
}
