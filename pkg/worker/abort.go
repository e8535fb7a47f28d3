package worker

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
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

// maxStacks bounds what is printed, in bytes: a worker may have very many
// goroutines, and whoever reads its standard error may be slow.
const maxStacks = 16 << 20

// abort prints the stacks and dies.
func abort() {
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= maxStacks {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 4*len(buf))
	}
	fmt.Fprintf(os.Stderr, "SIGABRT: abort\n\n%s\n", buf)
	dieOf(syscall.SIGABRT)
	select {} // the signal is on its way
}
