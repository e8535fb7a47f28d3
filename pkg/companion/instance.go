package companion

import (
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/restart"
)

// phase is where an instance stands in the diagram of doc.go.
type phase string

const (
	stopped  phase = control.Stopped
	starting phase = control.Starting
	running  phase = control.Running
	backoff  phase = control.Backoff
	stopping phase = control.Stopping
	exited   phase = control.Exited
	fatal    phase = control.Fatal
)

// then is what follows the end of STOPPING.
type then int

const (
	thenStop then = iota
	thenStart
	thenRemove
)

// instance is one process to be kept. It is plain data, owned by the core.
type instance struct {
	key
	spec *config.Companion // what the next attempt runs; shared and never changed, as is live
	live *config.Companion // what the living, or last, attempt runs: its windows and signals count

	phase    phase
	wanted   bool      // desired: up
	deadline time.Time // of the phase: startsecs over, retry due, stop window over; zero = none
	then     then      // in STOPPING
	cause    string    // why STOPPING was entered, or "" when nobody asked

	attempt  int
	ran      bool // an attempt was carried out, by this manager or an earlier one
	pid      int  // of the leader; 0 before it is known and after its end
	leader   bool // a leader lives, or is ordered (pid 0): recorded before the process exists
	leftover bool // the leader is gone and members of its group are not
	group    int  // the process group while leader or leftover
	signaled bool // the attempt's group got its stop signal
	killed   bool // the attempt's group got SIGKILL

	leftoverDeadline time.Time // SIGKILL for members whose leader ended unasked; zero = none
	lifetimeDeadline time.Time // of a process that is up: max_lifetime is over; zero = off
	resetDeadline    time.Time // of a process that is up: backoff_reset is over, earlier failures are forgotten; zero = there are none
	measureAt        time.Time // of one that is RUNNING: its memory is looked at next; zero = max_memory is off

	startedAt time.Time
	failures  restart.Counter
	restarts  int // attempts carried out after the first, for whatever reason
	exits     int // of leaders, starts that failed included
	stopKills int
	lastExit  *control.Exit

	changed bool // the arbiter has not been told yet

	at    time.Time // earliest, as the agenda has it
	place int       // in the agenda, from 1; 0 = not in it
}

// lives says whether any process of the instance may be alive.
func (i *instance) lives() bool { return i.leader || i.leftover }

// up says whether the instance has a leader that nobody has asked to end.
func (i *instance) up() bool { return i.phase == starting || i.phase == running }

// id names the current attempt.
func (i *instance) id() id { return id{i.key, i.attempt} }

// policy is the instance's rule of when to start again.
func (i *instance) policy() restart.Policy {
	return restart.Policy{
		Initial: i.spec.BackoffInitial,
		Max:     i.spec.BackoffMax,
		Reset:   i.spec.BackoffReset,
		Jitter:  i.spec.BackoffJitter,
	}
}

// enter changes the phase. Deadlines go with the old one; those of a process
// that is up stay while it is.
func (i *instance) enter(p phase) {
	i.phase = p
	i.deadline = time.Time{}
	if p != running {
		i.lifetimeDeadline, i.resetDeadline, i.measureAt = time.Time{}, time.Time{}, time.Time{}
	}
	i.changed = true
}

// begun counts an attempt that was carried out.
func (i *instance) begun() {
	if i.ran {
		i.restarts++
	}
	i.ran = true
}

// reports says whether an exit is worth showing what was printed before it.
func (i *instance) reports(s exitStatus) bool {
	return s.startError == "" && !i.lastExit.Expected
}

// earliest is the next moment at which the instance wants to be looked at; zero = never.
func (i *instance) earliest() time.Time {
	t := sooner(i.deadline, i.leftoverDeadline)
	if i.phase == running {
		t = sooner(t, sooner(i.measureAt, sooner(i.lifetimeDeadline, i.resetDeadline)))
	}
	return t
}

// sooner is the earlier of two moments, of which zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// due says whether a deadline has come.
func due(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }
