//go:build !linux

package arbiter

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Without pipe2 the fork lock keeps a child that is being made from inheriting it.
func pipeCloexec(p *[2]int) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := unix.Pipe(p[:]); err != nil {
		return err
	}
	unix.CloseOnExec(p[0])
	unix.CloseOnExec(p[1])
	return nil
}
