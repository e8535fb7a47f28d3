package proc

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// OpenPID returns a pidfd: a descriptor, close-on-exec and non-blocking, that
// becomes readable at the end of a process, which need not be a child.
func OpenPID(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("cannot watch process %d: %w", pid, err)
	}
	return fd, nil
}
