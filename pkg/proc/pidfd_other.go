//go:build !linux

package proc

import "fmt"

// OpenPID is for Linux, which has pidfds.
func OpenPID(pid int) (int, error) {
	return -1, fmt.Errorf("cannot watch process %d: %w", pid, ErrUnsupported)
}
