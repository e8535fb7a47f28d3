//go:build linux && !amd64 && !arm64

package proc

import (
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// cloneFlags make a child on a copy of this process, which waits until the child
// has become its program or has ended.
const cloneFlags = unix.CLONE_VFORK | uintptr(unix.SIGCHLD)

// vfork is clone(2).
//
//go:nosplit
func vfork(flags uintptr) (pid, errno uintptr) {
	stack := uintptr(0)
	if runtime.GOARCH == "s390x" {
		flags, stack = stack, flags // its clone has them the other way round
	}
	child, _, err := syscall.RawSyscall6(unix.SYS_CLONE, flags, stack, 0, 0, 0, 0)
	return child, uintptr(err)
}
