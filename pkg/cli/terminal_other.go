//go:build !linux

package cli

import "golang.org/x/sys/unix"

// getTermios is the request that only a terminal answers; see termios(4).
const getTermios = unix.TIOCGETA
