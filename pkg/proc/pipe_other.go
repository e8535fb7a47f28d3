//go:build !linux

package proc

import "fmt"

// OpenPipe is for Linux, which has /proc/PID/fd.
func OpenPipe(pid, fd int) (int, error) {
	return -1, fmt.Errorf("cannot open descriptor %d of process %d: %w", fd, pid, ErrUnsupported)
}
