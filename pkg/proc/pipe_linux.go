package proc

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// OpenPipe opens the read end of the pipe that a process has as its descriptor
// fd: a duplicate that no message had to carry (proc_pid_fd(5)). While it is open,
// the process does not get SIGPIPE when the pipe's own reader dies. It is
// close-on-exec and non-blocking.
func OpenPipe(pid, fd int) (int, error) {
	read, err := unix.Open(fmt.Sprintf("/proc/%d/fd/%d", pid, fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open descriptor %d of process %d: %w", fd, pid, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(read, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		unix.Close(read)
		return -1, fmt.Errorf("cannot open descriptor %d of process %d: it is no pipe", fd, pid)
	}
	return read, nil
}
