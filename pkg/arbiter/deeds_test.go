package arbiter

import (
	"maps"
	"slices"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/historytest"
	"github.com/gofork/gofork/pkg/link"
)

type deed = historytest.Deed[*world]

// deeds are what can happen. The first ones, and the last, are drawn more often.
func deeds() []deed {
	return []deed{
		{Weight: 3, Name: "what is under way goes on", Do: (*world).goOn},
		{Weight: 2, Name: "time passes", Do: (*world).timePasses},
		{Weight: 2, Name: "a worker exits", Do: (*world).workerExits},
		{Weight: 2, Name: "a worker is ready", Do: (*world).workerReady},
		{Weight: 2, Name: "all are ready", Do: (*world).allReady},
		{Weight: 2, Name: "an end is seen", Do: (*world).see},
		{Weight: 2, Name: "time passes again", Do: (*world).timePasses},
		{Weight: 2, Name: "another worker exits", Do: (*world).workerExits},
		{Weight: 3, Name: "a heartbeat", Do: (*world).beat},
		{Weight: 3, Name: "a reload is asked for", Do: (*world).askReload},
		{Weight: 2, Name: "a configuration is loaded", Do: (*world).load},
		{Weight: 4, Name: "the manager does something", Do: func(w *world) { w.bossDoes(w.script.Below("deed", 8)) }},
		{Weight: 1, Name: "all ends are seen", Do: (*world).seeAll},
		{Weight: 2, Name: "a worker wants to be recycled", Do: (*world).wantRecycling},
		{Weight: 2, Name: "the number of workers is changed", Do: (*world).askScale},
		{Weight: 1, Name: "the timer is late", Do: (*world).timerLate},
		{Weight: 1, Name: "the clock jumps", Do: (*world).clockJumps},
		{Weight: 1, Name: "the clock goes back", Do: (*world).clockGoesBack},
		{Weight: 2, Name: "a companion ends", Do: (*world).companionEnds},
		{Weight: 1, Name: "members of a group end", Do: (*world).someMembersEnd},
		{Weight: 2, Name: "a request for a companion", Do: (*world).askAct},
		{Weight: 2, Name: "upgrades", Do: (*world).upgradeGoesOn},
		{Weight: 1, Name: "the older arbiter ends", Do: (*world).olderEnds},
		{Weight: 1, Name: "log files are reopened", Do: func(w *world) { w.step(reopenAsked{}) }},
		{Weight: 1, Name: "a fact is told again", Do: (*world).again},
		{Weight: 1, Name: "a fact of nobody", Do: (*world).ofNobody},
		{Weight: 1, Name: "a stop is asked for", Do: func(w *world) {
			if w.script.OneIn("really", 8) {
				w.askStop()
			}
		}},
		{Weight: 1, Name: "a status is asked for", Do: (*world).askStatus},
	}
}

// next lets one thing happen.
func (w *world) next() {
	if w.core.finished {
		return
	}
	w.deck.Happen(w, w.script, w.census)
}

// leaders are the living ones, in order.
func (w *world) leaders() (all []*child) {
	for _, s := range w.core.slots {
		for _, o := range s.workers {
			if c := w.children[o.id]; c != nil && c.leader {
				all = append(all, c)
			}
		}
	}
	return all
}

// anyone chooses one of the living leaders.
func (w *world) anyone(f func(*child)) {
	if all := w.leaders(); len(all) > 0 {
		f(historytest.Pick(w.script, "worker", all...))
	}
}

// goOn lets happen what is expected next.
func (w *world) goOn() {
	b := w.boss
	switch {
	case len(w.loads) > 0:
		w.load()
	case len(w.pending) > 0:
		w.see()
	case slices.ContainsFunc(w.leaders(), func(c *child) bool { return !c.said }):
		w.allReady()
	case b != nil && !b.stopping && len(b.applies) > 0:
		w.bossDoes(4)
	case b != nil && !b.stopping && len(b.specs) > len(w.groups):
		w.bossDoes(2)
	default:
		w.pass(w.toDeadline())
	}
}

func (w *world) workerReady() {
	w.anyone(func(c *child) {
		c.said = true
		w.step(workerSaid{id: c.id, ready: true, beat: w.script.OneIn("beat", 2)})
	})
}

func (w *world) allReady() {
	for _, c := range w.leaders() {
		if c.leader && !c.said {
			c.said = true
			w.step(workerSaid{id: c.id, ready: true})
		}
	}
}

func (w *world) beat() {
	w.anyone(func(c *child) { w.step(workerSaid{id: c.id, beat: true, stopping: w.script.OneIn("stopping", 8)}) })
}

func (w *world) wantRecycling() {
	w.anyone(func(c *child) { w.step(workerSaid{id: c.id, recycle: "max_requests"}) })
}

func (w *world) workerExits() {
	w.anyone(func(c *child) {
		status := historytest.Pick(w.script, "status", crash, exitedOK, byKill, byTerm, noStart)
		if w.script.OneIn("a code that may halt all", 12) {
			status = historytest.Pick(w.script, "code", exitStatus{code: codeBootFailed}, exitStatus{code: codeLoadFailed})
		}
		w.exit(c, status)
	})
}

func (w *world) someMembersEnd() {
	for _, a := range slices.SortedFunc(maps.Keys(w.children), byID) {
		if c := w.children[a]; !c.leader && c.members {
			w.membersEnded(c)
			return
		}
	}
}

func byID(a, b id) int {
	if a.slot != b.slot {
		return a.slot - b.slot
	}
	return a.attempt - b.attempt
}

// next deadline from now on; 0 when there is none, or it has passed.
func (w *world) toDeadline() time.Duration {
	if at := w.core.earliest(); !at.IsZero() {
		return max(at.Sub(w.now), 0)
	}
	return 0
}

// timePasses up to a deadline, to one nanosecond before it or behind it, or so long.
func (w *world) timePasses() {
	next := w.toDeadline()
	w.pass(historytest.Pick(w.script, "time", next, next, next, max(next-1, 0), next+1, time.Second, 35*time.Second, time.Hour))
}

// timerLate lets a deadline pass that the core does not hear of yet: the next fact
// comes first.
func (w *world) timerLate() {
	w.now = w.now.Add(w.toDeadline() + historytest.Pick(w.script, "late by", 0, time.Millisecond, unwatched, unwatched+1, time.Second))
}

// clockJumps as after a suspension, or when the whole machine stood still.
func (w *world) clockJumps() {
	w.now = w.now.Add(historytest.Pick(w.script, "jump", time.Hour, 24*time.Hour, 10*365*24*time.Hour))
}

// clockGoesBack as nobody wants it to. What is due gets due later.
func (w *world) clockGoesBack() {
	d := historytest.Pick(w.script, "back", time.Nanosecond, time.Second, time.Minute, time.Hour)
	w.now, w.wentBack = w.now.Add(-d), w.wentBack+d
}

func (w *world) askReload() {
	switch w.script.Below("reload", 8) {
	case 0, 1, 2, 3:
		w.step(reloadAsked{token: w.ask("reload"), by: "request"})
	case 4, 5:
		w.step(reloadAsked{by: "SIGHUP"})
	case 6:
		w.step(reloadAsked{token: w.ask("reload"), only: true})
	default:
		w.step(reloadAsked{token: w.ask("dry run"), dry: true})
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
	if w.script.OneIn("bad file", 5) {
		w.census.Saw("a bad file")
		e.err = "cannot reload: app.toml:1: bad"
	} else {
		e.config = w.config()
		if a.dry {
			e.plan = plan(config.Diff(a.current, e.config), a, e.config)
		}
	}
	w.step(e)
}

func (w *world) askScale() {
	switch {
	case w.steady:
	case w.script.OneIn("all away", 8):
		w.census.Saw("workers are parked")
		w.step(parkAsked{by: "SIGWINCH"})
	case w.script.OneIn("to", 3):
		w.step(scaleAsked{token: w.ask("scale"), to: 1 + w.script.Below("to", 12)})
	default:
		w.step(scaleAsked{token: w.ask("scale"), delta: historytest.Pick(w.script, "delta", 1, -1, 2, -2)})
	}
}

// askStop by a signal, of which the second is quick, or by a request.
func (w *world) askStop() {
	switch w.script.Below("stop", 4) {
	case 0:
		w.step(stopAsked{by: "SIGTERM"})
	case 1:
		w.step(stopAsked{by: "SIGINT", quick: true})
	default:
		w.step(stopAsked{by: "request", quick: w.script.OneIn("quick", 2), token: w.ask("stop")})
	}
}

func (w *world) askStatus() { w.step(statusAsked{token: w.ask("status")}) }

func (w *world) askAct() {
	op := historytest.Pick(w.script, "op", control.OpStart, control.OpStop, control.OpRestart, control.OpSignal)
	w.step(actAsked{w.ask("act"), link.Act{Op: op, Name: historytest.Pick(w.script, "name", "a", "b", "c")}})
}

func (w *world) companionEnds() {
	if all := slices.Sorted(maps.Keys(w.groups)); len(all) > 0 {
		w.groupEnds(w.groups[historytest.Pick(w.script, "group", all...)])
	}
}

// upgradeGoesOn is the next thing that can happen to a hot upgrade.
func (w *world) upgradeGoesOn() {
	switch {
	case w.preparing:
		w.upgrades()
	case w.younger && w.script.OneIn("it ends", 3):
		w.census.Saw("the younger arbiter ends")
		w.younger = false
		w.step(upgradeExited{historytest.Pick(w.script, "status", crash, exitedOK, byTerm)})
	case w.younger && w.script.OneIn("a second one is wanted", 3):
		w.step(upgradeAsked{token: w.ask("upgrade"), by: "request"})
	case w.younger:
		w.census.Saw("the younger arbiter is ready")
		w.step(upgradeReady{})
	default:
		w.step(upgradeAsked{token: w.ask("upgrade"), by: "SIGUSR2"})
	}
}

// olderEnds is the end of the older arbiter and of its manager.
func (w *world) olderEnds() {
	if w.older {
		w.census.Saw("an upgrade is promoted")
		w.older = false
		w.step(parentGone{})
	}
}

// again tells a fact a second time.
func (w *world) again() {
	if len(w.past) > 0 {
		w.step(historytest.Pick(w.script, "fact", w.past...))
	}
}

// ofNobody is a fact that comes too late, or is about somebody who never was.
func (w *world) ofNobody() {
	a := id{w.script.Below("slot", 7), w.script.Below("attempt", 31)}
	if w.core.find(a) != nil {
		return
	}
	late := []event{
		workerExited{id: a, status: crash},
		workerExited{a, byKill, true},
		workerStarted{a, 7},
		workerGroupEnded{a},
		workerSaid{id: a, ready: true, beat: true, recycle: "max_requests"},
		workerMeasured{a, 1 << 40},
		managerExited{attempt: 0},
		managerStarted{0, 7},
		managerHeld{0, 7},
		managerSaid{0, link.Message{Done: &link.Done{ID: 1}}},
		adoptedExited{7, crash},
		adoptedGroupEnded{7},
		configLoaded{number: 9999, err: "late"},
		timePassed{},
	}
	if !w.older {
		late = append(late, parentGone{})
	}
	if !w.younger && !w.preparing {
		late = append(late, upgradeReady{}, upgradeExited{crash}, upgradeStarted{pid: 5})
	}
	w.step(historytest.Pick(w.script, "event", late...))
}

// bossDoes is a deed of the manager.
func (w *world) bossDoes(n int) {
	b := w.boss
	switch {
	case b == nil:
	case n == 0:
		w.census.Saw("the manager dies")
		w.bossDies(historytest.Pick(w.script, "status", crash, byKill, byTerm))
	case n == 1 && w.script.OneIn("hangs", 4):
		w.census.Saw("the manager hangs")
		b.hung = true
	case b.hung:
	case n == 1 && w.script.OneIn("an essential companion ends", 12):
		w.census.Saw("an essential companion ends")
		w.step(managerSaid{b.attempt, link.Message{Final: &link.Final{Name: "a", Instance: 1, Code: 9, Reason: "exited with code 9"}}})
	case b.stopping:
		for _, number := range slices.Sorted(maps.Keys(w.groups)) {
			w.groupEnds(w.groups[number])
		}
		w.seeAll()
		if w.boss == b {
			w.bossDies(exitedOK)
		}
	case n < 4 && len(b.specs) > 0:
		w.bossStarts(b)
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

// bossStarts a companion of which nothing lives, and reports it or dies before.
func (w *world) bossStarts(b *boss) {
	spec := historytest.Pick(w.script, "companion", b.specs...)
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
		reported: !w.script.OneIn("not reported", 4), stubborn: w.script.OneIn("stubborn", 4),
	}
	w.groups[g.number] = g
	if g.reported {
		w.say(spec, g.number)
	}
}
