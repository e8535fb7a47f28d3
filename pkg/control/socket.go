package control

import (
	"fmt"
	"io/fs"
)

// ListenOptions are how a control socket is made.
type ListenOptions struct {
	Mode fs.FileMode // of the socket, whatever the umask is

	// DirMode is what the socket's directory must allow at least: 0700, or 0711 when
	// processes of another user must reach other sockets in it. A directory that is
	// not there is made with it; one that is there, and gofork's own, is widened.
	DirMode fs.FileMode
}

// InUseError is why [Listen] refused: somebody answers on the socket.
type InUseError struct {
	Path string
	PID  int // who listens there; 0 when it cannot be told
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("cannot listen on %s: a running gofork has it", e.Path)
	}
	return fmt.Sprintf("cannot listen on %s: a running gofork has it (pid %d)", e.Path, e.PID)
}
