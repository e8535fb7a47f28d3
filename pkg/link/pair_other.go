//go:build !linux

package link

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Without SOCK_CLOEXEC the fork lock keeps a child that is being made from
// inheriting the pair.
func socketpair() ([2]int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	return fds, err
}
