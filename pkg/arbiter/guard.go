package arbiter

import (
	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
)

// guard keeps the pipes open into which companions print and which the manager
// reads. Were the manager their only reader, its death would kill by SIGPIPE
// whoever prints next, before it could be stopped as it wants to be.
type guard struct {
	pid int
	fds []int
}

// guardPipes follows what the manager reports of an instance.
func (l *loop) guardPipes(i *link.Instance) {
	k := key{i.Name, i.Instance}
	g := l.guards[k]
	switch {
	case i.PID != 0 && i.PID != g.pid:
		g.close()
		g = guard{pid: i.PID}
		for _, fd := range i.Piped {
			if read, err := proc.OpenPipe(i.PID, fd); err == nil {
				g.fds = append(g.fds, read) // else it has ended, or is of a user whose files are not ours to see
			}
		}
	case i.PID == 0 && i.Group == 0:
		g.close()
		g = guard{}
	}
	if g.pid == 0 {
		delete(l.guards, k)
	} else {
		l.guards[k] = g
	}
}

// unguard lets the pipes of an instance go.
func (l *loop) unguard(k key) {
	g := l.guards[k]
	g.close()
	delete(l.guards, k)
}

func (l *loop) unguardAll() {
	for k := range l.guards {
		l.unguard(k)
	}
}

func (g *guard) close() {
	for _, fd := range g.fds {
		unix.Close(fd)
	}
	g.fds = nil
}
