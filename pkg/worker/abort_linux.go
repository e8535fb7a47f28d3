package worker

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dieOf ends the process by the default action of a signal, under whatever
// handler the runtime has for it: os/signal can only give it back to the runtime,
// whose own way to die passes SIGQUIT from thread to thread and now and then
// waits 10 s for one that does not answer.
func dieOf(sig syscall.Signal) {
	// struct sigaction of the kernel, large enough for every layout of it: handler
	// SIG_DFL, no flags, no restorer, an empty mask are all zero.
	var action [8]uint64
	const maskSize = 8
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, maskSize, 0, 0)
	_ = syscall.Kill(syscall.Getpid(), sig)
}
