//go:build !linux

package handoff

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

func socket(domain, kind int) (int, error) {
	syscall.ForkLock.RLock() // no fork between the two calls
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(domain, kind, 0)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// settle gives the socket file its exact mode and returns its identity.
func settle(path string, mode fs.FileMode) (inode, error) {
	id, _, err := stat(path)
	if err == nil && mode != 0 {
		err = chmod(path, mode)
	}
	return id, err
}

// pin has no way to open a socket file here; the window is that of two system calls.
func pin(string) (release func()) { return func() {} }
