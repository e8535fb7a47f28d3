//go:build !linux

package handoff

import (
	"errors"
	"fmt"
)

// Queue is only supported on Linux.
func (l *Listener) Queue() (Queue, error) {
	return Queue{}, fmt.Errorf("cannot look into the queue of %s: %w", l.addr, errors.ErrUnsupported)
}
