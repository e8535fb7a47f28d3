//go:build 386 || arm

package proc

import "golang.org/x/sys/unix"

// The older calls have ids of 16 bits here.
const (
	sysSetgroups = unix.SYS_SETGROUPS32
	sysSetgid    = unix.SYS_SETGID32
	sysSetuid    = unix.SYS_SETUID32
)
