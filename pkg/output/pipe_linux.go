package output

import "golang.org/x/sys/unix"

// fionread asks for the bytes that wait in a pipe; Linux calls it TIOCINQ too.
const fionread = unix.TIOCINQ

func pipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, err
	}
	// Best effort: a user that has used up its share keeps the default size.
	_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, pipeSize)
	return p[0], p[1], nil
}
