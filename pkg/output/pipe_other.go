//go:build !linux

package output

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// fionread is FIONREAD, which every BSD defines as this and x/sys does not.
const fionread = 0x4004667f

func pipe() (r, w int, err error) {
	var p [2]int
	// Without pipe2(2) a fork in between would hand both ends to a stranger.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := unix.Pipe(p[:]); err != nil {
		return -1, -1, err
	}
	unix.CloseOnExec(p[0])
	unix.CloseOnExec(p[1])
	return p[0], p[1], nil
}
