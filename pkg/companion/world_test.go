package companion

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"pgregory.net/rapid"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/historytest"
)

// world is a small model of everything around the core: an arbiter that asks and
// may be gone, a clock that is late, jumps and goes back, and processes that exit,
// ignore signals, leave members of their group behind or cannot be started. Facts
// reach the core late, and some of them twice.
type world struct {
	t      *rapid.T
	script *historytest.Script
	census *historytest.Census
	core   *core
	judge  *judge
	wrong  *mutation // makes the core wrong; nil = it is as it is
	deck   historytest.Deck[*world]
	tale   *historytest.Tale

	now    time.Time
	orders []startProcess // in their order, not begun
	procs  []*process     // all that were begun and of which anything is to come
	past   []event        // facts that the core was told
	gone   map[id]*process
	applys uint64
	acts   uint64
	pids   int

	points    []int // the length of the script behind each fact
	stopAt    int   // behind that many facts a shutdown is asked for; 0 = behind none
	stopQuick bool
}

// process is one attempt that was begun: a leader, and perhaps members.
type process struct {
	id
	spec    config.Companion
	pid     int
	leader  bool
	members bool
	deaf    bool // both ignore the stop signal
	status  exitStatus
	told    bool // the core knows of the leader's end
	waits   bool // and that members lived on then
}

func (p *process) lives() bool { return p.leader || p.members }

func newWorld(t *rapid.T, script *historytest.Script, census *historytest.Census, arrows map[[2]phase]bool, wrong *mutation) *world {
	w := &world{
		t: t, script: script, census: census, wrong: wrong, deck: historytest.NewDeck(deeds()), tale: historytest.NewTale(t, wrong != nil),
		now: epoch, pids: 100, gone: map[id]*process{},
	}
	w.core = newCore(func() float64 { return 0.5 })
	w.judge = newJudge(w, arrows)
	return w
}

// play is a life of a manager: from every point there is a way out, on which
// everybody is answered.
func (w *world) play() {
	w.applySome()
	historytest.Play(w.t, w.next)
	w.end()
}

// end brings what is under way to its end.
func (w *world) end() {
	if !w.judge.shut {
		if w.script.OneIn("users stop everything first", 2) {
			w.stopAll()
		}
		w.step(shutdownAsked{quick: w.script.OneIn("quick", 2), cause: causeShutdown})
	} else {
		w.census.Saw("a shutdown that was under way at the end")
	}
	if w.script.OneIn("again, quick", 3) {
		w.step(shutdownAsked{quick: true, cause: causeShutdown})
	}
	w.settle(func() bool { return w.judge.finished })
	w.judge.atTheEnd()
}

// stopAll has users stop everything, and sees that every stop ends.
func (w *world) stopAll() {
	var asked []uint64
	for _, name := range []string{"a", "b"} {
		asked = append(asked, w.act(opStop, name, 0, true))
	}
	w.settle(func() bool {
		return !slices.ContainsFunc(asked, func(id uint64) bool { return w.judge.answers[id] == 0 })
	})
}

// settle lets everything that is on its way happen, until done.
func (w *world) settle(done func() bool) {
	for range 1000 {
		if done() {
			return
		}
		switch at := w.core.earliest(); {
		case len(w.orders) > 0:
			w.begin()
		case len(w.news()) > 0:
			w.tell()
		case !at.IsZero():
			w.now = later(w.now, at)
			w.step(timePassed{})
		default:
			w.tale.Broken(lawForEver, "nothing is on its way, and it is not done: %s", w.core.describe())
		}
	}
	w.tale.Broken(lawForEver, "it does not come to an end: %s", w.core.describe())
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (c *core) describe() string {
	text := ""
	for _, i := range c.instances {
		text += fmt.Sprintf("%s#%d %s leader %v leftover %v then %d; ", i.key, i.attempt, i.phase, i.leader, i.leftover, i.then)
	}
	return fmt.Sprintf("%s%d waiters, apply pending %v", text, len(c.waiters), c.pending != nil)
}

func (w *world) step(e event) {
	w.census.Steps++
	w.judge.hears(e)
	actions := w.take(e)
	if w.tale.Read() {
		w.tale.Tell(w.now.Sub(epoch), words(e), said(actions))
	}
	var measures []id
	for _, a := range actions {
		w.judge.sees(a) // before its effect
		switch a := a.(type) {
		case startProcess:
			w.orders = append(w.orders, a)
		case signalProcess:
			w.signal(a.id, a.signal, false)
		case signalGroup:
			w.signal(a.id, a.signal, true)
		case measureProcess:
			measures = append(measures, a.id)
		}
	}
	w.judge.after(actions)
	w.points = append(w.points, w.script.Length())
	for _, a := range measures {
		w.step(processMeasured{a, historytest.Pick[int64](w.script, "rss", 1, 1, 1<<30)})
	}
	if len(w.points) == w.stopAt {
		w.step(shutdownAsked{quick: w.stopQuick, cause: causeShutdown})
	}
}

// words are a fact as a reader of a history wants it.
func words(e event) string {
	switch e := e.(type) {
	case applyAsked:
		var all []string
		for _, s := range e.Specs {
			all = append(all, fmt.Sprintf("%s × %d, hash %q, autostart %v", s.Name, s.Numprocs, s.Hash, s.Autostart))
		}
		for _, r := range e.Remembered {
			all = append(all, fmt.Sprintf("remembered %s: %s, desired %s", r.ID(), r.State, r.Desired))
		}
		return fmt.Sprintf("apply %d (reload %v): %s", e.ID, e.Reload, strings.Join(all, "; "))
	case actAsked:
		return fmt.Sprintf("request %d: %s %s:%d, waits %v", e.ID, e.Op, e.Name, e.Instance, e.Wait)
	case processExited:
		return fmt.Sprintf("exited %s#%d, code %d, signal %d, %q, members live %v", e.key, e.attempt, e.status.code, e.status.signal, e.status.startError, e.groupAlive)
	case aboutAttempt:
		a := e.about()
		return fmt.Sprintf("%s %s#%d", strings.TrimPrefix(fmt.Sprintf("%T", e), "companion."), a.key, a.attempt)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T%+v", e, e), "companion.")
}

func (w *world) signal(a id, sig syscall.Signal, group bool) {
	p := w.process(a)
	if p == nil {
		w.tale.Broken(lawStopSignal, "%s goes to %s#%d, which was never begun", sig, a.key, a.attempt)
	}
	if sig != syscall.SIGKILL && (sig != p.spec.StopSignal || p.deaf) {
		return
	}
	if p.leader {
		p.leader, p.status = false, exitStatus{signal: sig}
	}
	if group {
		p.members = false
	}
}

func (w *world) process(a id) *process {
	for _, p := range w.procs {
		if p.id == a {
			return p
		}
	}
	return w.gone[a]
}

// begin carries out the first ordered start, or leaves it out as the loop does.
func (w *world) begin() {
	if len(w.orders) == 0 {
		return
	}
	o := w.orders[0]
	w.orders = w.orders[1:]
	if !w.core.due(o.id) {
		w.census.Saw("an order that has become void")
		return
	}
	if w.script.OneIn("start fails", 6) {
		w.census.Saw("a process cannot be started")
		w.tellOf(processExited{id: o.id, status: exitStatus{code: 127, startError: "cannot start it"}})
		return
	}
	w.pids++
	w.procs = append(w.procs, &process{
		id: o.id, spec: *o.spec, pid: w.pids, leader: true,
		members: w.script.OneIn("has members", 2), deaf: w.script.OneIn("deaf", 3),
	})
	w.tellOf(processStarted{o.id, w.pids})
}

func (w *world) tellOf(e event) {
	w.past = append(w.past, e)
	w.step(e)
}

// news are the processes of which something is to be told.
func (w *world) news() (found []*process) {
	for _, p := range w.procs {
		if !p.leader && !p.told || p.waits && !p.members {
			found = append(found, p)
		}
	}
	return found
}

// tell says what has become of a process.
func (w *world) tell() {
	news := w.news()
	if len(news) == 0 {
		return
	}
	p := historytest.Pick(w.script, "of", news...)
	if p.waits {
		p.waits = false
		w.bury(p)
		w.tellOf(groupEnded{p.id})
		return
	}
	p.told, p.waits = true, p.members
	w.bury(p)
	w.tellOf(processExited{id: p.id, status: p.status, groupAlive: p.members})
}

// bury puts away a process of which nothing is to come.
func (w *world) bury(p *process) {
	if p.told && !p.waits && !p.lives() {
		w.gone[p.id] = p
		w.procs = slices.DeleteFunc(w.procs, func(o *process) bool { return o == p })
	}
}
