package arbiter

import (
	"maps"
	"slices"
	"syscall"
	"time"

	"pgregory.net/rapid"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// world is a small model of what is around the core: processes that boot, hang,
// exit, ignore signals and leave members behind, a manager with companions, users
// with requests, and a clock. It carries actions out in the order in which the
// loop does, and what ends is seen later than it happens.
type world struct {
	t    *rapid.T
	core *core
	now  time.Time
	pids int

	children map[id]*child     // workers of which anything lives
	boss     *boss             // the living manager, nil when there is none
	groups   map[int]*family   // living companions, by process group
	pending  []func()          // ends that nobody has seen yet, in order
	loads    []loadConfig      // configurations that are being read
	asked    map[uint64]string // requests, by token
	tokens   uint64
	queue    []action

	steady bool // no scaling: the number of workers is always the same
	count  int  // of the file, when steady
	law    *law
}

// child is a worker as a process.
type child struct {
	id
	generation *generation
	leader     bool
	members    bool // of its group, beside the leader
	stubborn   bool // ignores all but SIGKILL
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

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, now: epoch, pids: 100, children: map[id]*child{}, groups: map[int]*family{}, asked: map[uint64]string{},
		steady: rapid.Bool().Draw(t, "steady"), count: rapid.IntRange(1, 4).Draw(t, "count"),
	}
	cfg := w.config("first")
	w.core = newCore(cfg, []string{"tcp://127.0.0.1:8000"}, w.now, func() float64 { return 0.5 })
	w.law = newLaw(w)
	w.step(began{})
	return w
}

// config draws a configuration.
func (w *world) config(label string) *config.Config {
	count := w.count
	if !w.steady {
		count = rapid.IntRange(0, 4).Draw(w.t, label+" workers")
	}
	var names []string
	for _, n := range []string{"a", "b"} {
		if rapid.Bool().Draw(w.t, label+" companion "+n) || count == 0 && n == "b" {
			names = append(names, n)
		}
	}
	return configOf(count, companions(names...), func(c *config.Config) {
		c.Server.ShutdownDelay = time.Duration(rapid.SampledFrom([]int{0, 0, 3}).Draw(w.t, label+" shutdown delay")) * time.Second
		c.Server.GracefulTimeout = time.Duration(rapid.SampledFrom([]int{0, 10, 30}).Draw(w.t, label+" graceful timeout")) * time.Second
		if len(c.Companions) == 0 {
			c.Manager.StopTimeout = 0
		}
		if c.Worker == nil {
			return
		}
		c.Worker.Ready = rapid.SampledFrom([]string{"notify", "notify", "auto", "alive"}).Draw(w.t, label+" ready")
		if !w.steady {
			c.Worker.MaxSurge = config.MaxSurge{N: rapid.IntRange(1, 4).Draw(w.t, label+" surge")}
		}
	})
}

// step does what the loop does: everything that is ordered is carried out before
// the next fact is taken in, and what comes of it goes to the end of the queue.
func (w *world) step(e event) {
	w.feed(e)
	for len(w.queue) > 0 {
		a := w.queue[0]
		w.queue = w.queue[1:]
		w.perform(a)
	}
	w.law.settled()
}

func (w *world) feed(e event) {
	w.law.before(e)
	actions := w.core.step(w.now, e)
	w.t.Logf("%8.3fs %T → %q", w.now.Sub(epoch).Seconds(), e, said(actions))
	for _, a := range actions {
		w.law.sees(a)
	}
	w.law.after(e)
	w.queue = append(w.queue, actions...)
}

func (w *world) perform(a action) {
	switch a := a.(type) {
	case startWorker:
		if rapid.IntRange(0, 19).Draw(w.t, "start fails") == 0 {
			w.feed(workerExited{id: a.id, status: noStart})
			return
		}
		w.pids++
		w.children[a.id] = &child{
			id: a.id, generation: a.generation, leader: true,
			members:  rapid.IntRange(0, 4).Draw(w.t, "members") == 0,
			stubborn: rapid.IntRange(0, 3).Draw(w.t, "stubborn") == 0,
		}
		w.feed(workerStarted{a.id, w.pids})
	case signalWorker:
		if c := w.children[a.id]; c != nil && c.leader && !c.stubborn {
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
		if rapid.IntRange(0, 19).Draw(w.t, "manager start fails") == 0 {
			w.feed(managerExited{attempt: a.attempt, status: noStart})
			return
		}
		w.pids++
		w.boss = &boss{attempt: a.attempt}
		w.feed(managerStarted{a.attempt, w.pids})
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
		w.feed(workerMeasured{a.id, 1})
	case loadConfig:
		w.loads = append(w.loads, a)
	case startUpgrade:
		if rapid.Bool().Draw(w.t, "upgrade fails") {
			w.feed(upgradeStarted{err: "hook pre_exec failed"})
		} else {
			w.feed(upgradeStarted{pid: 9999})
		}
	}
}

// exit is the end of a leader; it is seen when the time has come.
func (w *world) exit(c *child, s exitStatus) {
	c.leader = false
	w.pending = append(w.pending, func() {
		if !c.members {
			delete(w.children, c.id)
		}
		w.step(workerExited{c.id, s, c.members})
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

// anyone draws one of the living leaders.
func (w *world) anyone(label string) *child {
	var all []*child
	for _, s := range w.core.slots {
		for _, o := range s.workers {
			if c := w.children[o.id]; c != nil && c.leader {
				all = append(all, c)
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return rapid.SampledFrom(all).Draw(w.t, label)
}

func (w *world) ask(what string) uint64 {
	w.tokens++
	w.asked[w.tokens] = what
	return w.tokens
}

// deeds are what can happen next.
func (w *world) deeds() map[string]func(*rapid.T) {
	deeds := map[string]func(*rapid.T){
		"ready": func(*rapid.T) {
			if c := w.anyone("ready"); c != nil {
				w.step(workerSaid{id: c.id, ready: true})
			}
		},
		"all ready": func(*rapid.T) {
			for _, a := range slices.SortedFunc(maps.Keys(w.children), byID) {
				if c := w.children[a]; c != nil && c.leader {
					w.step(workerSaid{id: a, ready: true})
				}
			}
		},
		"beat": func(*rapid.T) {
			if c := w.anyone("beat"); c != nil {
				w.step(workerSaid{id: c.id, beat: true, ready: rapid.Bool().Draw(w.t, "ready with it")})
			}
		},
		"wants to be recycled": func(*rapid.T) {
			if c := w.anyone("recycle"); c != nil {
				w.step(workerSaid{id: c.id, recycle: "max_requests"})
			}
		},
		"exit": func(*rapid.T) {
			if c := w.anyone("exit"); c != nil {
				w.exit(c, rapid.SampledFrom([]exitStatus{crash, exitedOK, byKill, byTerm, {code: 3}, {code: 4}}).Draw(w.t, "status"))
			}
		},
		"seen":  func(*rapid.T) { w.see() },
		"seen2": func(*rapid.T) { w.seeAll() },
		"members end": func(*rapid.T) {
			for _, a := range slices.SortedFunc(maps.Keys(w.children), byID) {
				if c := w.children[a]; !c.leader && c.members {
					w.membersEnded(c)
					return
				}
			}
		},
		"time": func(t *rapid.T) { w.pass(w.drawTime()) },
		"reload": func(*rapid.T) {
			w.step(reloadAsked{token: w.ask("reload"), by: "request"})
		},
		"reread": func(*rapid.T) {
			w.step(reloadAsked{token: w.ask("reload"), only: true})
		},
		"dry run": func(*rapid.T) {
			w.step(reloadAsked{token: w.ask("dry run"), dry: true})
		},
		"loaded": func(*rapid.T) { w.load() },
		"scale": func(*rapid.T) {
			if !w.steady {
				w.step(scaleAsked{token: w.ask("scale"), delta: rapid.IntRange(-2, 2).Draw(w.t, "delta")})
			}
		},
		"park": func(*rapid.T) {
			if !w.steady && rapid.IntRange(0, 3).Draw(w.t, "really") == 0 {
				w.step(parkAsked{by: "SIGWINCH"})
			}
		},
		"stop": func(*rapid.T) {
			if rapid.IntRange(0, 9).Draw(w.t, "really") == 0 {
				w.step(stopAsked{quick: rapid.Bool().Draw(w.t, "quick"), by: "SIGTERM", token: w.ask("stop")})
			}
		},
		"status": func(*rapid.T) { w.step(statusAsked{token: w.ask("status")}) },
		"act": func(*rapid.T) {
			op := rapid.SampledFrom([]string{control.OpStart, control.OpStop, control.OpRestart, control.OpSignal}).Draw(w.t, "op")
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(w.t, "name")
			w.step(actAsked{w.ask("act"), link.Act{Op: op, Name: name}})
		},
		"reopen":  func(*rapid.T) { w.step(reopenAsked{}) },
		"manager": func(*rapid.T) { w.bossDoes(rapid.IntRange(0, 7).Draw(w.t, "deed")) },
		"companion ends": func(*rapid.T) {
			if all := slices.Sorted(maps.Keys(w.groups)); len(all) > 0 {
				w.groupEnds(w.groups[rapid.SampledFrom(all).Draw(w.t, "group")])
			}
		},
		"upgrade": func(*rapid.T) {
			switch rapid.IntRange(0, 2).Draw(w.t, "upgrade") {
			case 0:
				w.step(upgradeAsked{token: w.ask("upgrade"), by: "SIGUSR2"})
			case 1:
				w.step(upgradeReady{})
			default:
				w.step(upgradeExited{crash})
			}
		},
		"late or unknown": func(*rapid.T) {
			a := id{rapid.IntRange(0, 6).Draw(w.t, "slot"), rapid.IntRange(0, 30).Draw(w.t, "attempt")}
			if w.core.find(a) != nil {
				return
			}
			w.step(rapid.SampledFrom([]event{
				workerExited{id: a, status: crash},
				workerExited{a, byKill, true},
				workerStarted{a, 7},
				workerGroupEnded{a},
				workerSaid{id: a, ready: true, beat: true, recycle: "max_requests"},
				workerMeasured{a, 1 << 40},
				managerExited{attempt: 0},
				managerStarted{0, 7},
				managerSaid{0, link.Message{Done: &link.Done{ID: 1}}},
				adoptedExited{7, crash},
				adoptedGroupEnded{7},
				configLoaded{number: 9999, err: "late"},
				timePassed{},
				parentGone{},
			}).Draw(w.t, "event"))
		},
	}
	for name, f := range deeds {
		deeds[name] = func(t *rapid.T) {
			if !w.core.finished {
				f(t)
			}
		}
	}
	return deeds
}

func byID(a, b id) int {
	if a.slot != b.slot {
		return a.slot - b.slot
	}
	return a.attempt - b.attempt
}

// drawTime is some time: up to a deadline, to one nanosecond before it, a jump.
func (w *world) drawTime() time.Duration {
	next := time.Duration(0)
	if at := w.core.earliest(); !at.IsZero() {
		next = max(at.Sub(w.now), 0)
	}
	return rapid.SampledFrom([]time.Duration{next, next, max(next-1, 0), next + 1, time.Second, 35 * time.Second, time.Hour}).Draw(w.t, "time")
}

// pass lets time pass; the timer fires as long as something is due.
func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.step(timePassed{})
	for n := 0; due(w.core.earliest(), w.now) && !w.core.finished; n++ {
		if n > 50 {
			w.t.Fatalf("a deadline is due for ever: %v", w.core.earliest().Sub(w.now))
		}
		w.step(timePassed{})
	}
}

// load ends the reading of a configuration.
func (w *world) load() {
	if len(w.loads) == 0 {
		return
	}
	a := w.loads[0]
	w.loads = w.loads[1:]
	e := configLoaded{number: a.number, token: a.token}
	if rapid.IntRange(0, 4).Draw(w.t, "bad file") == 0 {
		e.err = "cannot reload: app.toml:1: bad"
	} else {
		e.config = w.config("next")
	}
	w.step(e)
}

// bossDoes is a deed of the manager.
func (w *world) bossDoes(n int) {
	b := w.boss
	switch {
	case b == nil:
	case n == 0:
		w.bossDies(rapid.SampledFrom([]exitStatus{crash, byKill, byTerm}).Draw(w.t, "status"))
	case n == 1 && rapid.IntRange(0, 3).Draw(w.t, "hangs") == 0:
		b.hung = true
	case b.hung:
	case b.stopping:
		for _, number := range slices.Sorted(maps.Keys(w.groups)) {
			w.groupEnds(w.groups[number])
		}
		w.seeAll()
		if w.boss == b {
			w.bossDies(exitedOK)
		}
	case n < 4 && len(b.specs) > 0:
		spec := rapid.SampledFrom(b.specs).Draw(w.t, "companion")
		if w.seeAll(); w.boss != b {
			return
		}
		for _, g := range w.groups {
			if g.spec.Name == spec.Name {
				return
			}
		}
		w.pids++
		g := &family{
			number: w.pids, spec: spec, leader: true,
			reported: rapid.IntRange(0, 3).Draw(w.t, "reported") > 0,
			stubborn: rapid.IntRange(0, 3).Draw(w.t, "stubborn") == 0,
		}
		w.groups[g.number] = g
		if g.reported {
			w.say(spec, g.number)
		}
	case len(b.applies) > 0:
		apply := b.applies[0]
		b.applies = b.applies[1:]
		w.step(managerSaid{b.attempt, link.Message{Applied: &link.Applied{ID: apply}}})
	case len(b.acts) > 0:
		act := b.acts[0]
		b.acts = b.acts[1:]
		w.step(managerSaid{b.attempt, link.Message{Done: &link.Done{ID: act}}})
	}
}

// end stops everything, or goes on with a stop, until gofork has finished.
func (w *world) end() {
	if !w.core.stop.asked {
		w.step(stopAsked{quick: rapid.Bool().Draw(w.t, "quick at last"), by: "SIGTERM", token: w.ask("stop")})
	}
	from := w.now
	for n := 0; !w.core.finished; n++ {
		if n > 200 {
			w.t.Fatalf("the stop does not end")
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
	w.law.ended(w.now.Sub(from))
}
