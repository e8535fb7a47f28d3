package proc

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Table is the real [System]: the children of this process and the groups that
// outlive their leaders.
//
// Invariants: a pid is in children from its fork until wait4 returned it, and
// only Sweep calls wait4, so a signal sent to a pid in children cannot reach a
// stranger. A pgid is in groups while members live whose leader is not a child,
// and the kernel gives no process the number of a group that has members.
type Table struct {
	children map[int]struct{}
	groups   map[int]*group
	spared   map[int]bool // children that EndDescendants leaves alone
	null     *os.File

	changed chan struct{}
	sigchld chan os.Signal
	members *memberWatch // non-children in watched groups; nil until one is seen
	closed  chan struct{}
	tasks   sync.WaitGroup
}

var _ System = (*Table)(nil)

// New makes the table of this process, of which there can be one at a time: it
// reaps every child, so os/exec cannot be used beside it. Inherited descriptors
// from 3 on become close-on-exec and inherited ignored signals default, so that
// no child gets what nobody gave it. The first Sweep is due at once, for children
// that ended before. Close ends it.
func New() (*Table, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	closeInheritedOnExec()
	if err := unignoreSignals(); err != nil {
		null.Close()
		return nil, err
	}
	t := &Table{
		children: make(map[int]struct{}),
		groups:   make(map[int]*group),
		null:     null,
		changed:  make(chan struct{}, 1),
		sigchld:  make(chan os.Signal, 1),
		closed:   make(chan struct{}),
	}
	signal.Notify(t.sigchld, syscall.SIGCHLD)
	t.notify()
	t.tasks.Go(func() {
		for {
			select {
			case <-t.sigchld:
				t.notify()
			case <-t.closed:
				return
			}
		}
	})
	return t, nil
}

// Close stops listening for SIGCHLD and lets go of every descriptor. It neither
// signals nor reaps children.
func (t *Table) Close() error {
	signal.Stop(t.sigchld)
	close(t.closed)
	if t.members != nil {
		t.members.close()
	}
	t.tasks.Wait()
	return t.null.Close()
}

// Changed implements [System].
func (t *Table) Changed() <-chan struct{} { return t.changed }

func (t *Table) notify() {
	select {
	case t.changed <- struct{}{}:
	default: // a Sweep is due already; it will see this change too
	}
}

// Start implements [System].
func (t *Table) Start(c Command) (int, error) {
	pid, err := t.start(c)
	if err != nil {
		return 0, fmt.Errorf("cannot start %s: %w", c.Path, err)
	}
	t.children[pid] = struct{}{}
	return pid, nil
}

func (t *Table) start(c Command) (int, error) {
	argv := c.Args
	if len(argv) == 0 {
		argv = []string{c.Path}
	}
	return start(c, argv, t.files(c.Files))
}

// files never leaves 0, 1 and 2 closed: what the program opened first would
// become its standard error.
func (t *Table) files(fds []int) []uintptr {
	null := t.null.Fd() // /dev/null is in no poller, so Fd changes nothing
	files := make([]uintptr, 0, max(len(fds), 3)+1)
	for _, fd := range fds {
		if fd == DevNull {
			files = append(files, null)
		} else {
			files = append(files, uintptr(fd))
		}
	}
	for len(files) < 3 {
		files = append(files, null)
	}
	return files
}

// Signal implements [System].
func (t *Table) Signal(pid int, sig syscall.Signal) error {
	if _, child := t.children[pid]; !child && !t.leadsWatched(pid) {
		return ErrGone
	}
	return sent(syscall.Kill(pid, sig))
}

// leadsWatched says that pid leads a watched group and was adopted: a child that
// only Sweep can reap, though not started here.
func (t *Table) leadsWatched(pid int) bool {
	g, watched := t.groups[pid]
	return watched && !g.leaderReaped && parentOf(pid) == os.Getpid()
}

// SignalGroup implements [System].
func (t *Table) SignalGroup(pgid int, sig syscall.Signal) error {
	if pgid <= 1 {
		return ErrGone // kill(2) would take 0 as our own group and -1 as everybody
	}
	if _, child := t.children[pgid]; !child {
		g, watched := t.groups[pgid]
		if !watched || g.reused(pgid) {
			return ErrGone
		}
	}
	return sent(syscall.Kill(-pgid, sig))
}

func sent(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return ErrGone
	}
	return err
}

// Sweep implements [System]. SIGCHLDs coalesce, so it asks until there is no
// more. Never with __WALL: Go's probe for pidfds at start-up clones a process
// without a SIGCHLD, which would be reaped under its feet.
func (t *Table) Sweep() Changes {
	var changes Changes
	for {
		var status syscall.WaitStatus
		var usage syscall.Rusage
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, &usage)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			break // ECHILD: no children at all; 0: none that ended
		}
		exit := exitOf(pid, status, &usage)
		if _, own := t.children[pid]; own {
			delete(t.children, pid)
			changes.Exits = append(changes.Exits, exit)
			continue
		}
		if g, watched := t.groups[pid]; watched {
			g.leaderReaped = true
		}
		changes.Orphans = append(changes.Orphans, exit)
	}
	t.checkGroups(&changes)
	return changes
}

func exitOf(pid int, status syscall.WaitStatus, usage *syscall.Rusage) Exit {
	e := Exit{
		PID:    pid,
		Code:   status.ExitStatus(), // -1 when signaled
		MaxRSS: maxRSS(usage),
		CPU:    time.Duration(usage.Utime.Nano() + usage.Stime.Nano()),
	}
	if status.Signaled() {
		e.Signal, e.CoreDumped = status.Signal(), status.CoreDump()
	}
	return e
}
