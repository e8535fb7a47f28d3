//go:build !linux

package proc

import "fmt"

// UsageOf is only supported on Linux.
func UsageOf(pid int) (Usage, error) {
	return Usage{}, fmt.Errorf("cannot read the usage of process %d: %w", pid, ErrUnsupported)
}
