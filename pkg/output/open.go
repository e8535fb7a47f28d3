package output

import (
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// pipeSize is what a capture's pipe may hold: a cushion that lets a child print
// a burst without waiting for the reader.
const pipeSize = 1 << 20

// Pipe makes the pipe of one captured stream. The read end never blocks and is
// for [Captures]; the write end blocks, as children expect, and is given to the
// child. Both are closed on exec, and the caller owns both.
//
// The pipe holds 1 MiB where the system allows it. Linux grants a user without
// CAP_SYS_RESOURCE 64 MiB of pipes in all (pipe-user-pages-soft in proc(5));
// pipes beyond that are small, and work.
func Pipe() (r, w int, err error) {
	r, w, err = pipe()
	if err != nil {
		return -1, -1, fmt.Errorf("cannot make an output pipe: %w", err)
	}
	if err := unix.SetNonblock(r, true); err != nil {
		unix.Close(r)
		unix.Close(w)
		return -1, -1, fmt.Errorf("cannot make an output pipe: %w", err)
	}
	return r, w, nil
}

// OpenAppend opens a file for a child that writes it itself, or for a log, creating
// it with perm. The descriptor appends, blocks, is closed on exec, and belongs to the
// caller. A FIFO that nobody reads is an error, where a plain open would block.
func OpenAppend(path string, perm fs.FileMode) (fd int, err error) {
	// O_NONBLOCK is for the open alone; the child must not inherit it.
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_APPEND | unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NONBLOCK
	for {
		fd, err := unix.Open(path, flags, uint32(perm.Perm()))
		if err == unix.EINTR {
			continue
		}
		if err == unix.ENXIO {
			return -1, fmt.Errorf("cannot open output file %s: nobody reads this FIFO: %w", path, err)
		}
		if err != nil {
			return -1, fmt.Errorf("cannot open output file %s: %w", path, err)
		}
		if err := unix.SetNonblock(fd, false); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("cannot open output file %s: %w", path, err)
		}
		return fd, nil
	}
}
