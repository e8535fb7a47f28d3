package companion

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"pgregory.net/rapid"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// world is a small model of everything around the core: an arbiter that asks, a
// clock that may be late, and processes that exit, ignore signals, leave members
// of their group behind or cannot be started. Facts reach the core late, and
// some of them twice.
type world struct {
	t      *rapid.T
	core   *core
	now    time.Time
	orders []startProcess // in their order, not begun
	procs  []*process     // all that were ever begun
	past   []event        // facts that the core was told
	applys uint64
	acts   uint64
	pids   int
	laws   *laws
}

// process is one attempt that was begun: a leader, and perhaps members.
type process struct {
	id
	spec    config.Companion
	pid     int
	began   time.Time
	leader  bool
	members bool
	deaf    bool // both ignore the stop signal
	status  exitStatus
	told    bool // the core knows of the leader's end
	waits   bool // and that members lived on then
}

func (p *process) lives() bool { return p.leader || p.members }

func newWorld(t *rapid.T) *world {
	w := &world{t: t, now: epoch, pids: 100}
	w.core = newCore(func() float64 { return 0.5 })
	w.laws = newLaws(w)
	return w
}

// run plays a generated history, then ends it: from every point there is a way
// out, on which everybody is answered.
func (w *world) run() {
	commands := []struct {
		weight int
		do     func()
	}{
		// What is drawn is often among the first.
		{6, w.pass},
		{4, w.begin},
		{4, w.tell},
		{2, w.ready},
		{4, w.exitByItself},
		{4, w.actOn},
		{4, w.pass},
		{2, w.tell},
		{1, w.applySome},
		{1, w.repeat},
		{1, w.membersEnd},
	}
	var deck []func()
	for _, c := range commands {
		deck = append(deck, slices.Repeat([]func(){c.do}, c.weight)...)
	}
	w.applySome()
	for range rapid.IntRange(30, 120).Draw(w.t, "steps") {
		deck[rapid.IntRange(0, len(deck)-1).Draw(w.t, "do")]()
	}
	if rapid.Bool().Draw(w.t, "users stop everything first") {
		w.stopAll()
	}
	quick := rapid.Bool().Draw(w.t, "quick")
	w.step(shutdownAsked{quick: quick, cause: causeShutdown})
	for range rapid.IntRange(0, 10).Draw(w.t, "steps after the shutdown") {
		deck[rapid.IntRange(0, len(deck)-1).Draw(w.t, "do")]()
	}
	if rapid.Bool().Draw(w.t, "again, quick") {
		w.step(shutdownAsked{quick: true, cause: causeShutdown})
	}
	w.settle(func() bool { return w.laws.finished })
	w.laws.atTheEnd()
}

// stopAll has users stop everything, and sees that every stop ends.
func (w *world) stopAll() {
	var asked []uint64
	for _, name := range []string{"a", "b"} {
		w.acts++
		asked = append(asked, w.acts)
		w.step(actAsked{link.Act{ID: w.acts, Op: opStop, Name: name, Wait: true}})
	}
	w.settle(func() bool {
		return !slices.ContainsFunc(asked, func(id uint64) bool { return w.laws.answers[id] == 0 })
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
			w.t.Fatalf("nothing is on its way, and it is not done: %s", w.core.describe())
		}
	}
	w.t.Fatalf("it does not come to an end: %s", w.core.describe())
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
	w.laws.before(e)
	actions := w.core.step(w.now, e)
	for _, a := range actions {
		w.laws.action(a) // before its effect
		switch a := a.(type) {
		case startProcess:
			w.orders = append(w.orders, a)
		case signalProcess:
			w.signal(a.id, a.signal, false)
		case signalGroup:
			w.signal(a.id, a.signal, true)
		}
	}
	w.laws.after(actions)
}

func (w *world) signal(a id, sig syscall.Signal, group bool) {
	p := w.process(a)
	if p == nil {
		w.t.Fatalf("%s goes to %s#%d, which was never begun", sig, a.key, a.attempt)
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
	return nil
}

// begin carries out the first ordered start, or leaves it out as the loop does.
func (w *world) begin() {
	if len(w.orders) == 0 {
		return
	}
	o := w.orders[0]
	w.orders = w.orders[1:]
	if !w.core.due(o.id) {
		return
	}
	if rapid.IntRange(0, 5).Draw(w.t, "start fails") == 0 {
		w.tellOf(processExited{id: o.id, status: exitStatus{code: 127, startError: "cannot start it"}})
		return
	}
	w.pids++
	p := &process{id: o.id, spec: o.spec, pid: w.pids, began: w.now, leader: true}
	p.members = rapid.Bool().Draw(w.t, "has members")
	p.deaf = rapid.IntRange(0, 2).Draw(w.t, "deaf") == 0
	w.procs = append(w.procs, p)
	w.tellOf(processStarted{o.id, p.pid})
}

func (w *world) tellOf(e event) {
	w.past = append(w.past, e)
	w.step(e)
}

// pick draws one of the processes that fit, or nil.
func (w *world) pick(fits func(*process) bool) *process {
	var found []*process
	for _, p := range w.procs {
		if fits(p) {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return rapid.SampledFrom(found).Draw(w.t, "process")
}

func (w *world) exitByItself() {
	if p := w.pick(func(p *process) bool { return p.leader }); p != nil {
		p.leader = false
		p.status = rapid.SampledFrom([]exitStatus{{}, {code: 1}, {signal: syscall.SIGSEGV}}).Draw(w.t, "status")
	}
}

func (w *world) membersEnd() {
	if p := w.pick(func(p *process) bool { return p.members }); p != nil {
		p.members = false
	}
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

func (w *world) tell() {
	news := w.news()
	if len(news) == 0 {
		return
	}
	p := rapid.SampledFrom(news).Draw(w.t, "of")
	if p.waits {
		p.waits = false
		w.tellOf(groupEnded{p.id})
		return
	}
	p.told, p.waits = true, p.members
	w.tellOf(processExited{id: p.id, status: p.status, groupAlive: p.members})
}

// repeat tells a fact of an attempt that is over once more.
func (w *world) repeat() {
	if len(w.past) == 0 {
		return
	}
	e := rapid.SampledFrom(w.past).Draw(w.t, "again")
	if g, ok := e.(groupEnded); ok {
		if p := w.process(g.id); p.members {
			return // it would be no repetition, but a lie
		}
	}
	w.step(e)
}

func (w *world) ready() {
	if p := w.pick((*process).lives); p != nil {
		w.tellOf(readyReceived{p.id})
	}
}

// pass moves the clock: to the next deadline, just before it, or past it, and
// the core hears of it at once or later.
func (w *world) pass() {
	at := w.core.earliest()
	switch how := rapid.IntRange(0, 9).Draw(w.t, "clock"); {
	case how == 9 && !at.IsZero():
		w.now = later(w.now, at.Add(-1))
	case how <= 7 && !at.IsZero():
		w.now = later(w.now, at)
	default:
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 40_000).Draw(w.t, "ms")) * time.Millisecond)
	}
	if rapid.IntRange(0, 3).Draw(w.t, "late") > 0 {
		w.step(timePassed{})
	}
}

func (w *world) applySome() {
	w.applys++
	a := link.Apply{ID: w.applys, Reload: rapid.Bool().Draw(w.t, "reload")}
	for _, name := range []string{"a", "b"} {
		if rapid.IntRange(0, 3).Draw(w.t, "has "+name) > 0 {
			a.Specs = append(a.Specs, w.spec(name))
		}
	}
	if w.applys == 1 && rapid.Bool().Draw(w.t, "second manager") {
		states := []string{control.Stopped, control.Exited, control.Fatal, control.Backoff}
		for n := range rapid.IntRange(1, 3).Draw(w.t, "remembered") {
			a.Remembered = append(a.Remembered, link.Instance{Companion: control.Companion{
				Name: "a", Instance: n + 1, Exits: n, Failures: n,
				State:   rapid.SampledFrom(states).Draw(w.t, "state"),
				Desired: rapid.SampledFrom([]string{control.Up, control.Down}).Draw(w.t, "desired"),
				Hash:    rapid.SampledFrom([]string{"other", w.spec("a").Hash}).Draw(w.t, "hash"),
			}})
		}
	}
	w.step(applyAsked{a})
}

func (w *world) spec(name string) config.Companion {
	pick := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(w.t, label) }
	s := specOf(name)
	// Few variants, so that an apply often changes nothing.
	switch pick("variant", 4) {
	case 0:
		s.MaxLifetime = 20 * time.Second // recycled before its failures are forgotten
	case 1:
		s.Autorestart, s.StopGroup = config.RestartOnFailure, false
		s.OnReload.Restart = true
	case 2:
		s.Autorestart, s.Essential = config.RestartNever, true
		s.MaxLifetime, s.MaxLifetimeJitter = time.Minute, time.Second
		s.OnReload.Signal = syscall.SIGHUP
		s.ReloadTimeout = 2 * time.Minute
	case 3:
		s.Startretries, s.BackoffInitial, s.Startsecs = 2, 0, 0
		s.StopTimeout = 0
	}
	s.Hash = fmt.Sprint(s.Autorestart, s.Startretries)
	s.Numprocs = pick("numprocs", 3) + 1
	s.Autostart = pick("autostart", 4) > 0
	return s
}

func (w *world) actOn() {
	w.acts++
	w.step(actAsked{link.Act{
		ID:   w.acts,
		Op:   rapid.SampledFrom([]string{opStart, opStop, opRestart, opSignal}).Draw(w.t, "op"),
		Name: rapid.SampledFrom([]string{"a", "a", "b", "nobody"}).Draw(w.t, "name"), Instance: rapid.IntRange(0, 3).Draw(w.t, "instance"),
		Signal: syscall.SIGUSR1, Wait: rapid.IntRange(0, 3).Draw(w.t, "wait") > 0,
	}})
}
