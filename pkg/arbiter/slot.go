package arbiter

import (
	"slices"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/restart"
)

// phase is where a worker stands in the diagram of doc.go.
type phase string

const (
	booting  phase = "booting"
	ready    phase = "ready"
	draining phase = "draining"
	aborting phase = "aborting"
	killing  phase = "killing"
)

// shown is the phase as status has it.
func (p phase) shown() string {
	if p == aborting {
		return control.WorkerKilling
	}
	return string(p)
}

// generation is one configuration of the web tier. It is never changed.
type generation struct {
	number    int
	config    *config.Config
	listeners []string // as status shows them
}

func (g *generation) worker() *config.Worker { return g.config.Worker }

// worker is one attempt of a slot. It is plain data, owned by the core.
type worker struct {
	id
	generation *generation
	phase      phase
	deadline   time.Time // of the phase: boot or heartbeat clock, end of a window; zero = none

	pid      int
	leader   bool // a leader lives, or is about to: recorded before the process exists
	leftover bool // the leader is gone and members of its group are not

	startedAt time.Time
	readyAt   time.Time // zero = never was
	beatAt    time.Time // last WATCHDOG=1; zero = none yet
	status    string    // its own STATUS=
	cause     string    // why it was asked to end, or which clock ran out; "" = neither
	asked     bool      // the arbiter wanted it to end: its exit is expected
	stopping  bool      // it said STOPPING=1: a signal from outside, as far as nobody asked

	// successor: it boots beside the worker that serves the slot, and takes its
	// place when it is ready (a reload, a recycling).
	successor bool
	recycle   string    // of a successor: why it is to be replaced once it serves
	recycleAt time.Time // max_lifetime is over; zero = off
	measureAt time.Time // its memory is looked at next; zero = max_memory is off
}

func (w *worker) lives() bool { return w.leader || w.leftover }

// serves says whether the worker is, or will be, of use: nobody has ended it.
func (w *worker) serves() bool { return w.leader && (w.phase == booting || w.phase == ready) }

// service is how long the worker has been up, for the delay after its end; a boot
// is none, however long it took.
func (w *worker) service(now time.Time) time.Duration {
	if w.readyAt.IsZero() {
		return 0
	}
	return now.Sub(w.startedAt)
}

func (w *worker) enter(p phase, deadline time.Time) {
	w.phase, w.deadline = p, deadline
}

// slot is a place for one worker. While a worker is replaced by a younger one,
// or its group ends late, a slot has several.
type slot struct {
	number   int
	attempts int
	workers  []*worker // that live, oldest first
	retryAt  time.Time // backoff: when the next attempt is due; zero = no backoff

	queued  bool // its next attempt waits for its turn among many
	startOn bool // that attempt is a successor

	generation *generation // whose settings the next attempt has
	recycle    string      // why the serving worker is to be replaced, "" = it is not
	recycleAt  time.Time   // the next try at that, after one that failed

	failures restart.Counter
	boots    int  // failed boots in a row
	served   bool // had a ready worker once
	restarts int
	lastExit *control.Exit
}

// serving is the slot's worker that nobody has ended, nil when there is none.
func (s *slot) serving() *worker { return s.youngest(false) }

// successor is the worker that is to take its place, nil when there is none.
func (s *slot) successor() *worker { return s.youngest(true) }

func (s *slot) youngest(successor bool) *worker {
	for i := len(s.workers) - 1; i >= 0; i-- {
		if w := s.workers[i]; w.serves() && w.successor == successor {
			return w
		}
	}
	return nil
}

// held says whether the end of a worker that lives decides on the next attempt:
// the one that serves, or one that a clock has ended.
func (s *slot) held() bool { return s.hasUnasked(false) }

// replacing says whether there is a successor, be it one that a clock has ended.
func (s *slot) replacing() bool { return s.hasUnasked(true) }

func (s *slot) hasUnasked(successor bool) bool {
	return slices.ContainsFunc(s.workers, func(w *worker) bool { return w.leader && !w.asked && w.successor == successor })
}

// isReady says whether the slot has a worker that takes requests.
func (s *slot) isReady() bool {
	for _, w := range s.workers {
		if w.leader && w.phase == ready {
			return true
		}
	}
	return false
}

func (s *slot) find(attempt int) *worker {
	for _, w := range s.workers {
		if w.attempt == attempt {
			return w
		}
	}
	return nil
}

// Delays of a slot: a worker that was ready is replaced at once and only a
// replacement that dies young waits; a slot that never served waits from the
// first failure on.
const (
	retryInitial = time.Second
	retryMax     = 30 * time.Second
	retryReset   = 30 * time.Second
)

func (s *slot) policy() restart.Policy {
	return restart.Policy{Initial: retryInitial, Max: retryMax, Reset: retryReset, Immediate: s.served}
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
