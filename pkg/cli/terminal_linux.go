package cli

import "golang.org/x/sys/unix"

// getTermios is the request that only a terminal answers; see termios(3).
const getTermios = unix.TCGETS
