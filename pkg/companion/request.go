package companion

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/link"
)

// Operations of a user on a companion.
const (
	opStart   = "start"
	opStop    = "stop"
	opRestart = "restart"
	opSignal  = "signal"
)

// Codes of control.Error that the manager answers with.
const (
	codeConflict = "conflict"
	codeUnknown  = "unknown_companion"
)

// wrongRemoved is why a companion that somebody waits for will not be up.
const wrongRemoved = "removed from the configuration"

// outcome is where an instance has come to, for those who wait for it.
type outcome int

const (
	outcomeRunning  outcome = iota // RUNNING
	outcomeFinished                // EXITED as expected
	outcomeFailed                  // BACKOFF, FATAL, or EXITED with a failure
	outcomeStopped                 // STOPPED: nothing of it lives
	outcomeRemoved                 // taken out of the configuration
)

// waiter is a request whose answer waits for instances to get somewhere.
type waiter struct {
	act     link.Act
	pending []*instance
	wrong   []string // instances that got somewhere else, and why
	crashed key      // the first of them that ended by itself; zero = none
}

// act takes a request in. It takes effect at once, whatever the state; a later
// request overrides an earlier one, whose waiter is told so.
func (c *core) act(now time.Time, a link.Act) {
	targets := c.targets(a)
	if len(targets) == 0 {
		c.answer(a, codeUnknown, fmt.Sprintf("there is no companion %q", targetName(a)))
		return
	}
	if c.shutdown {
		c.answer(a, codeConflict, "gofork is stopping")
		return
	}
	if a.Op == opSignal {
		c.signalAll(a, targets)
		return
	}
	w := &waiter{act: a}
	for _, i := range targets {
		if c.begin(now, a.Op, i) {
			w.pending = append(w.pending, i)
		}
	}
	if !a.Wait || len(w.pending) == 0 {
		c.answer(a, "", "")
		return
	}
	c.waiters = append(c.waiters, w)
}

// begin carries a request out for one instance and says whether its outcome is
// still to come.
func (c *core) begin(now time.Time, op string, i *instance) (open bool) {
	switch op {
	case opStart:
		if i.up() {
			return false // done already
		}
		i.failures.Reset()
		c.bringUp(now, i, causeRestart)
		return i.phase != running
	case opStop:
		c.bringDown(now, i)
		return i.phase == stopping
	default: // restart
		i.failures.Reset()
		if i.up() {
			i.wanted = true
			c.stop(now, i, i.live.ReloadTimeout, thenStart, causeRestart)
		} else {
			c.bringUp(now, i, causeRestart)
		}
		return true
	}
}

// bringDown stops an instance until somebody starts it again.
func (c *core) bringDown(now time.Time, i *instance) {
	i.wanted, i.changed = false, true
	switch {
	case i.lives():
		c.stop(now, i, i.live.StopTimeout, thenStop, causeStop)
		c.overrule(i, "stopped by a later request")
	case i.phase == backoff:
		i.enter(stopped)
		c.resolve(i, outcomeStopped)
	}
}

func (c *core) signalAll(a link.Act, targets []*instance) {
	var down []string
	for _, i := range targets {
		if i.pid == 0 {
			down = append(down, i.key.String())
		}
	}
	if len(down) > 0 {
		c.answer(a, codeConflict, fmt.Sprintf("cannot signal %s: not up", strings.Join(down, ", ")))
		return
	}
	for _, i := range targets {
		c.signal(i, a.Signal)
	}
	c.answer(a, "", "")
}

// signal sends what a user asked for to the leader, as kill(1) would.
func (c *core) signal(i *instance, sig syscall.Signal) {
	c.do(signalProcess{i.id(), sig})
}

// resolve tells those who wait for the instance where it has come to.
func (c *core) resolve(i *instance, o outcome) {
	for _, w := range slices.Clone(c.waiters) {
		if !slices.Contains(w.pending, i) {
			continue
		}
		var wrong string
		switch {
		case w.act.Op == opStop && (o == outcomeStopped || o == outcomeRemoved):
		case w.act.Op == opStop:
			continue // its end is still to come
		case o == outcomeRunning || o == outcomeFinished:
		case o == outcomeStopped && i.phase == stopping && i.then == thenStart:
			continue // the end of the old one; the new one is what is waited for
		case o == outcomeStopped:
			wrong = "stopped before it was up"
		case o == outcomeRemoved:
			wrong = wrongRemoved
		default:
			wrong = i.lastExit.Sentence()
			if w.crashed == (key{}) {
				w.crashed = i.key
			}
		}
		c.settle(w, i, wrong)
	}
}

// overrule tells those who wait for the instance to be up why it will not be.
func (c *core) overrule(i *instance, wrong string) {
	for _, w := range slices.Clone(c.waiters) {
		if w.act.Op != opStop && slices.Contains(w.pending, i) {
			c.settle(w, i, wrong)
		}
	}
}

func (c *core) settle(w *waiter, i *instance, wrong string) {
	w.pending = slices.DeleteFunc(w.pending, func(o *instance) bool { return o == i })
	if wrong != "" {
		w.wrong = append(w.wrong, i.key.String()+": "+wrong)
	}
	if len(w.pending) > 0 {
		return
	}
	c.waiters = slices.DeleteFunc(c.waiters, func(o *waiter) bool { return o == w })
	if len(w.wrong) == 0 {
		c.answer(w.act, "", "")
		return
	}
	c.do(send{link.Message{Done: &link.Done{
		ID: w.act.ID, Code: codeConflict, Message: fmt.Sprintf("cannot %s %s", w.act.Op, strings.Join(w.wrong, "; ")),
		Crashed: w.crashed.name, CrashedInstance: w.crashed.number,
	}}})
}

func (c *core) answer(a link.Act, code, message string) {
	c.do(send{link.Message{Done: &link.Done{ID: a.ID, Code: code, Message: message}}})
}

func (c *core) targets(a link.Act) []*instance {
	var found []*instance
	for _, i := range c.instances {
		if i.phase == stopping && i.then == thenRemove {
			continue // to users it is gone already
		}
		if i.name == a.Name && (a.Instance == 0 || a.Instance == i.number) {
			found = append(found, i)
		}
	}
	return found
}

func targetName(a link.Act) string {
	if a.Instance == 0 {
		return a.Name
	}
	return key{a.Name, a.Instance}.String()
}
