//go:build !linux

package worker

import (
	"os/signal"
	"syscall"
)

// dieOf gives the signal back to the runtime, which dies of it.
func dieOf(sig syscall.Signal) {
	signal.Reset(sig, syscall.SIGQUIT)
	_ = syscall.Kill(syscall.Getpid(), sig)
}
