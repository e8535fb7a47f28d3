package launch

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Reopen is for a child that was started with this wiring: it opens the files
// that are its own standard output and error afresh, after somebody has moved
// them away. What goes elsewhere, through the supervisor too, stays as it is, and
// so does a file that cannot be opened.
func (w Wiring) Reopen() error {
	err := w.reopen(w.Stdout, unix.Stdout)
	if w.Stderr != Joined {
		return errors.Join(err, w.reopen(w.Stderr, unix.Stderr))
	}
	if joined := unix.Dup2(unix.Stdout, unix.Stderr); joined != nil {
		err = errors.Join(err, fmt.Errorf("cannot join standard error with standard output: %w", joined))
	}
	return err
}

func (w Wiring) reopen(name string, fd int) error {
	if name == Null || w.captures(name) {
		return nil
	}
	fresh, owned, err := openFile(name, fd)
	if err != nil || !owned {
		return err
	}
	defer unix.Close(fresh)
	// One step: a line that is written meanwhile is in the old file or in the new.
	if err := unix.Dup2(fresh, fd); err != nil {
		return fmt.Errorf("cannot reopen output file %s: %w", name, err)
	}
	return nil
}
