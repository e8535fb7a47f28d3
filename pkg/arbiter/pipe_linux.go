package arbiter

import "golang.org/x/sys/unix"

func pipeCloexec(p *[2]int) error { return unix.Pipe2(p[:], unix.O_CLOEXEC) }

// pidfd is a descriptor that becomes readable at the end of a process.
func pidfd(pid int) (int, error) { return unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK) }
