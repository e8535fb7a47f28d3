package arbiter

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"pgregory.net/rapid"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/historytest"
	"github.com/gofork/gofork/pkg/link"
)

// world is a small model of what is around the core: processes that boot, hang,
// exit, ignore signals and leave members behind, a manager with companions, an
// older and a younger arbiter, users with requests, and a clock that is late, jumps
// and goes back. It carries actions out in the order in which the loop does, and
// what ends is seen later than it happens.
type world struct {
	t      *rapid.T
	script *historytest.Script
	census *historytest.Census
	core   *core
	judge  *judge
	wrong  *mutation // makes the core wrong; nil = it is as it is
	deck   historytest.Deck[*world]
	tale   *historytest.Tale

	now      time.Time
	wentBack time.Duration // how far the clock was set back in all
	pids     int

	children  map[id]*child     // workers of which anything lives
	boss      *boss             // the living manager, nil when there is none
	groups    map[int]*family   // living companions, by process group
	pending   []func()          // ends that nobody has seen yet, in order
	loads     []loadConfig      // configurations that are being read
	past      []event           // facts that could be told again
	asked     map[uint64]string // requests, by token
	tokens    uint64
	queue     []action
	ending    bool // nothing happens any more but what has to
	carrying  bool // orders are being carried out: a fact in between waits with what comes of it
	preparing bool // the hook pre_exec runs
	younger   bool // the arbiter that this one has started lives
	ghost     bool // a gofork of this name was killed, and its manager lives
	older     bool // the arbiter that has started this one lives, or its manager

	points    []int // the length of the script behind each fact
	stopAt    int   // behind that many facts a stop is asked for; 0 = behind none
	stopQuick bool

	steady bool // no scaling, and one surge: how many workers there may be is always the same
	count  int  // of the file, when steady
	surge  int
}

// child is a worker as a process.
type child struct {
	id
	leader   bool
	members  bool // of its group, beside the leader
	stubborn bool // ignores all but SIGKILL
	said     bool // READY=1
}

func (c *child) lives() bool { return c.leader || c.members }

// boss is a manager as a process.
type boss struct {
	attempt  int
	specs    []config.Companion
	applies  []uint64 // not answered yet
	acts     []uint64
	stopping bool
	hung     bool // does nothing any more, and ignores all but SIGKILL
}

// family is a companion as a process group.
type family struct {
	number   int
	spec     config.Companion
	leader   bool
	reported bool // the arbiter has heard of it
	adopted  bool // its manager is dead
	stubborn bool
}

func newWorld(t *rapid.T, script *historytest.Script, census *historytest.Census, wrong *mutation) *world {
	w := &world{
		t: t, script: script, census: census, wrong: wrong, deck: historytest.NewDeck(deeds()), tale: historytest.NewTale(t, wrong != nil),
		now: epoch, pids: 100, children: map[id]*child{}, groups: map[int]*family{}, asked: map[uint64]string{},
	}
	w.steady = script.OneIn("steady", 2)
	w.count, w.surge = 1+script.Below("count", 4), 1+script.Below("surge", 3)
	cfg := w.config()
	w.core = newCore(cfg, []string{"tcp://127.0.0.1:8000"}, w.now, func() float64 { return 0.5 })
	w.core.pid = historytest.Pick(script, "pid", 7, 7, 7, 7, 1)
	if w.older = script.OneIn("is an upgrade", 4); w.older {
		w.core.upgrade.parent = 6
		if cfg.Worker != nil && script.OneIn("of one that was scaled", 3) && !w.steady {
			w.core.count = cfg.Worker.Count + 1
		}
		census.Saw("is an upgrade of an older arbiter")
	}
	w.judge = newJudge(w, cfg)
	return w
}

// config draws a configuration.
func (w *world) config() *config.Config {
	s := w.script
	count := w.count
	if !w.steady {
		count = s.Below("workers", 5)
	}
	var names []string
	for _, n := range []string{"a", "b"} {
		if s.OneIn("companion "+n, 2) || count == 0 && n == "b" {
			names = append(names, n)
		}
	}
	return configOf(count, companions(names...), func(c *config.Config) {
		c.Server.ShutdownDelay = historytest.Pick(s, "shutdown delay", 0, 0, 3*time.Second)
		c.Server.GracefulTimeout = historytest.Pick(s, "graceful timeout", 30*time.Second, 10*time.Second, 0)
		if len(c.Companions) == 0 {
			c.Manager.StopTimeout = 0
		}
		if c.Worker == nil {
			return
		}
		c.Worker.Ready = historytest.Pick(s, "ready", "notify", "notify", "auto", "alive")
		c.Worker.ReadyAfter = historytest.Pick(s, "ready after", time.Second, time.Second, 0)
		c.Worker.Timeout = historytest.Pick(s, "timeout", 30*time.Second, 30*time.Second, 0)
		c.Worker.MaxLifetime = historytest.Pick(s, "max lifetime", 0, 0, 0, 40*time.Second)
		c.Worker.MaxMemory = historytest.Pick[int64](s, "max memory", 0, 0, 0, 1<<20)
		c.Worker.ReopenSignal = historytest.Pick(s, "reopen signal", 0, syscall.SIGHUP)
		c.Worker.MaxSurge = config.MaxSurge{N: w.surge}
		if !w.steady {
			c.Worker.MaxSurge.N = 1 + s.Below("surge", 4)
		}
	})
}

// step does what the loop does: everything that is ordered is carried out in its
// order, and what comes of it goes to the end of the queue. After the start of a
// worker one more fact may come in between.
func (w *world) step(e event) {
	w.feed(e)
	if w.carrying {
		return
	}
	w.carrying = true
	for len(w.queue) > 0 {
		a := w.queue[0]
		w.queue = w.queue[1:]
		w.perform(a)
		if _, slow := a.(startWorker); slow && !w.ending && w.script.OneIn("in between", 12) {
			w.census.Saw("a fact between two orders")
			w.next()
		}
	}
	w.carrying = false
	w.judge.settled()
}

func (w *world) feed(e event) {
	w.census.Steps++
	w.judge.hears(e)
	actions := w.take(e)
	if w.tale.Read() {
		w.tale.Tell(w.now.Sub(epoch), words(e), said(actions))
	}
	for _, a := range actions {
		w.judge.sees(a)
	}
	w.judge.after(e)
	w.queue = append(w.queue, actions...)
	w.points = append(w.points, w.script.Length())
	if len(w.points) == w.stopAt && !w.core.finished {
		w.feed(stopAsked{by: "SIGTERM", quick: w.stopQuick})
	}
}

// words are a fact as a reader of a history wants it: without what is zero.
func words(e event) string {
	switch e := e.(type) {
	case configLoaded:
		if e.config == nil {
			return fmt.Sprintf("configLoaded %d: %s", e.number, e.err)
		}
		text := fmt.Sprintf("configLoaded %d: %d companions", e.number, len(e.config.Companions))
		if w := e.config.Worker; w != nil {
			text += fmt.Sprintf(", %d workers, ready %s, surge %d", w.Count, w.Ready, w.MaxSurge.N)
		}
		return text
	case managerSaid:
		if i := e.message.Instance; i != nil {
			return fmt.Sprintf("managerSaid %d: %s is %s, group %d", e.attempt, i.ID(), i.State, i.Group)
		}
		return fmt.Sprintf("managerSaid %d: applied %v, done %v, final %v", e.attempt, e.message.Applied != nil, e.message.Done != nil, e.message.Final != nil)
	}
	text := strings.TrimPrefix(fmt.Sprintf("%T%+v", e, e), "arbiter.")
	for _, field := range strings.Fields(strings.NewReplacer("{", " ", "}", " ").Replace(text)) {
		if strings.HasSuffix(field, ":") || strings.HasSuffix(field, ":0") || strings.HasSuffix(field, ":false") {
			text = strings.Replace(text, field, "", 1)
		}
	}
	return strings.Join(strings.Fields(text), " ")
}

func (w *world) perform(a action) {
	s := w.script
	switch a := a.(type) {
	case startWorker:
		if s.OneIn("start fails", 20) {
			w.census.Saw("a worker cannot be started")
			w.feed(workerExited{id: a.id, status: noStart})
			return
		}
		w.pids++
		w.children[a.id] = &child{id: a.id, leader: true, members: s.OneIn("members", 5), stubborn: s.OneIn("stubborn", 4)}
		w.fact(workerStarted{a.id, w.pids})
	case signalWorker:
		if c := w.children[a.id]; c != nil && c.leader && !c.stubborn && a.signal != syscall.SIGHUP {
			w.exit(c, exitStatus{signal: a.signal})
		}
	case signalWorkerGroup:
		c := w.children[a.id]
		if c == nil || c.stubborn && a.signal != syscall.SIGKILL {
			return
		}
		c.members = false
		if c.leader {
			w.exit(c, exitStatus{signal: a.signal})
		} else {
			w.membersEnded(c)
		}
	case startManager:
		w.ghost = w.ghost && !s.OneIn("the other manager ends", 2) || s.OneIn("a gofork was killed", 20)
		if w.ghost {
			w.census.Saw("a manager waits for that of a killed gofork")
			w.feed(managerHeld{a.attempt, 99})
			return
		}
		if s.OneIn("manager start fails", 20) {
			w.census.Saw("a manager cannot be started")
			w.feed(managerExited{attempt: a.attempt, status: noStart})
			return
		}
		w.pids++
		w.boss = &boss{attempt: a.attempt}
		w.fact(managerStarted{a.attempt, w.pids})
	case signalManager:
		if w.boss != nil && w.boss.attempt == a.attempt {
			w.bossDies(exitStatus{signal: a.signal})
		}
	case tellManager:
		if b := w.boss; b != nil && b.attempt == a.attempt {
			w.tell(b, a.message)
		}
	case watchAdopted:
		if g := w.groups[a.group]; g != nil {
			g.adopted = true
		} else {
			w.feed(adoptedGroupEnded(a))
		}
	case signalAdopted:
		if g := w.groups[a.group]; g != nil && (!g.stubborn || a.signal == syscall.SIGKILL) {
			w.groupEnds(g)
		}
	case measureWorker:
		w.feed(workerMeasured{a.id, historytest.Pick[int64](s, "rss", 1, 1, 1<<30)})
	case loadConfig:
		w.loads = append(w.loads, a)
	case startUpgrade:
		if s.OneIn("a hook runs first", 2) {
			w.preparing = true
		} else {
			w.upgrades()
		}
	}
}

// upgrades is the outcome of startUpgrade.
func (w *world) upgrades() {
	w.preparing = false
	switch {
	case w.core.stop.sent:
		w.step(upgradeStarted{err: "gofork is stopping"})
	case w.script.OneIn("upgrade fails", 3):
		w.census.Saw("a younger arbiter cannot be started")
		w.step(upgradeStarted{err: "hook pre_exec failed"})
	default:
		w.younger = true
		w.step(upgradeStarted{pid: 9999})
	}
}

// fact is fed, and may be told once more.
func (w *world) fact(e event) {
	w.past = append(w.past, e)
	w.feed(e)
}

// exit is the end of a leader; it is seen when the time has come.
func (w *world) exit(c *child, s exitStatus) {
	c.leader = false
	w.pending = append(w.pending, func() {
		if !c.members {
			delete(w.children, c.id)
		}
		e := workerExited{c.id, s, c.members}
		w.past = append(w.past, e)
		w.step(e)
	})
}

func (w *world) membersEnded(c *child) {
	c.members = false
	w.pending = append(w.pending, func() {
		if w.children[c.id] != nil { // else they ended before the exit was seen
			delete(w.children, c.id)
			w.step(workerGroupEnded{c.id})
		}
	})
}

func (w *world) bossDies(s exitStatus) {
	b := w.boss
	w.boss = nil
	w.pending = append(w.pending, func() {
		var strays []stray
		for _, n := range slices.Sorted(maps.Keys(w.groups)) {
			if g := w.groups[n]; !g.reported {
				w.census.Saw("a companion that nobody had reported")
				strays = append(strays, stray{key{g.spec.Name, 1}, g.number})
			}
		}
		w.step(managerExited{b.attempt, s, strays})
	})
}

func (w *world) tell(b *boss, m link.Message) {
	switch {
	case m.Apply != nil:
		b.specs, b.applies = m.Apply.Specs, append(b.applies, m.Apply.ID)
	case m.Act != nil:
		b.acts = append(b.acts, m.Act.ID)
	case m.Stop != nil:
		b.stopping = true
	}
}

func (w *world) groupEnds(g *family) {
	delete(w.groups, g.number)
	w.pending = append(w.pending, func() {
		if g.adopted {
			w.step(adoptedExited{g.number, byTerm})
			w.step(adoptedGroupEnded{g.number})
		} else if w.boss != nil {
			w.say(g.spec, 0)
		}
	})
}

// say reports an instance to the arbiter.
func (w *world) say(spec config.Companion, pid int) {
	i := running(spec, pid)
	if pid == 0 {
		i.State = control.Backoff
	}
	w.step(managerSaid{w.boss.attempt, link.Message{Instance: i}})
}

// see lets the first end be seen that was not yet.
func (w *world) see() {
	if len(w.pending) > 0 {
		f := w.pending[0]
		w.pending = w.pending[1:]
		f()
	}
}

func (w *world) seeAll() {
	for len(w.pending) > 0 {
		w.see()
	}
}

func (w *world) ask(what string) uint64 {
	w.tokens++
	w.asked[w.tokens] = what
	return w.tokens
}

// pass lets time pass; the timer fires as long as something is due.
func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.step(timePassed{})
	for n := 0; due(w.core.earliest(), w.now) && !w.core.finished; n++ {
		if n > 50 {
			w.tale.Broken(lawClocks, "a deadline is due for ever: %v", w.core.earliest().Sub(w.now))
		}
		w.step(timePassed{})
	}
}

// play is a life from its beginning, until the history is long enough, to its end.
func (w *world) play() {
	w.step(began{})
	historytest.Play(w.t, w.next)
	w.end()
}

// end stops everything, or goes on with a stop, until gofork has finished.
func (w *world) end() {
	if w.core.stop.asked {
		w.census.Saw("a stop that was under way at the end")
	} else {
		w.askStop()
	}
	w.ending = true
	from := w.now
	most := 200 + int(w.wentBack/measureInterval) // a delay that got longer by that is spent in looks at memory
	for n := 0; !w.core.finished; n++ {
		if n > most {
			w.tale.Broken(lawStopEnds, "the stop does not end")
		}
		w.seeAll()
		if b := w.boss; b != nil && b.stopping && !b.hung {
			w.bossDoes(7)
		}
		w.seeAll()
		if at := w.core.earliest(); !w.core.finished && !at.IsZero() {
			w.pass(max(at.Sub(w.now), 0))
		}
	}
	w.judge.ended(w.now.Sub(from) - w.wentBack) // what was due is due later by that
}
