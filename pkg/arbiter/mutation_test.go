package arbiter

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/historytest"
	"github.com/gofork/gofork/pkg/link"
)

// mutation makes the core wrong in one way: by what it is told, by what it
// remembers, or by what it orders. The judge sees the fact as it was and the order
// as it became.
type mutation struct {
	breaks law
	as     string // what the core does instead
	// told alters a fact, or what the core knows, before it takes the fact in.
	told func(c *core, e event) event
	// orders alters what the core remembers and orders after that.
	orders func(c *core, now time.Time, e event, orders []action) []action
	// later keeps an order back until the next fact.
	later func(a action) bool
	kept  []action
}

// step is the core's, made wrong.
func (m *mutation) step(c *core, now time.Time, e event) []action {
	if m == nil {
		return c.step(now, e)
	}
	if m.told != nil {
		e = m.told(c, e)
	}
	orders := c.step(now, e)
	if m.orders != nil {
		orders = m.orders(c, now, e, orders)
	}
	if m.later != nil {
		var kept []action
		for _, a := range orders {
			if m.later(a) {
				kept = append(kept, a)
			}
		}
		orders = append(m.kept, slices.DeleteFunc(orders, m.later)...)
		m.kept = kept
	}
	return orders
}

// Every law catches the core that breaks it. Lines of the core's sources were left out
// or turned round one by one as well, each where no adapter reaches: all were caught
// but those that change nothing.
func TestEveryLawCatchesItsMutations(t *testing.T) {
	caught := map[law]bool{}
	for _, m := range mutations() {
		caught[m.breaks] = true
		t.Run(m.as, func(t *testing.T) {
			var census historytest.Census
			after, others := historytest.Hunt(string(m.breaks), 3000, func(t *rapid.T) {
				wrong := m
				newWorld(t, historytest.NewScript(t), &census, &wrong).play()
			})
			if after == 0 {
				t.Errorf("no history shows that it is not so: %s\nothers were broken: %v", m.breaks, others)
			}
			t.Logf("caught by the %d. history: %s", after, m.breaks)
		})
	}
	for _, l := range laws() {
		if !caught[l] {
			t.Errorf("nothing is known to break this law: %s", l)
		}
	}
}

// each alters the orders of a kind.
func each[A action](change func(a A) []action) func(*core, time.Time, event, []action) []action {
	return func(_ *core, _ time.Time, _ event, orders []action) (changed []action) {
		for _, o := range orders {
			if a, ok := o.(A); ok {
				changed = append(changed, change(a)...)
			} else {
				changed = append(changed, o)
			}
		}
		return changed
	}
}

func twice[A action](a A) []action { return []action{a, a} }

func never[A action](A) []action { return nil }

// on alters what the core is told, or knows, when it is told such a fact.
func on[E event](change func(c *core, e E) event) func(*core, event) event {
	return func(c *core, e event) event {
		if e, ok := e.(E); ok {
			return change(c, e)
		}
		return e
	}
}

// half of what is left until then.
func half(at *time.Time, now time.Time) {
	if at.After(now) {
		*at = now.Add(at.Sub(now) / 2)
	}
}

// workers does something to each.
func workers(f func(c *core, now time.Time, s *slot, w *worker)) func(*core, time.Time, event, []action) []action {
	return func(c *core, now time.Time, _ event, orders []action) []action {
		for _, s := range c.slots {
			for _, w := range s.workers {
				f(c, now, s, w)
			}
		}
		return orders
	}
}

// too orders something more, as the core itself would.
func too(c *core, orders []action, f func()) []action {
	c.actions = nil
	f()
	return append(slices.Clone(orders), c.actions...)
}

func logged(orders []action, event string) bool {
	return slices.ContainsFunc(orders, func(a action) bool {
		r, ok := a.(record)
		return ok && r.event == event
	})
}

func mutations() []mutation {
	drainAll := func(c *core, now time.Time) {
		for _, s := range c.slots {
			if w := s.serving(); w != nil {
				c.drain(now, w, syscall.SIGTERM, time.Minute, causeReload)
			}
		}
	}
	return []mutation{
		{breaks: lawPlace, as: "starts twice", orders: each(twice[startWorker])},
		{breaks: lawPlace, as: "counts attempts from one again", told: func(c *core, e event) event {
			for _, s := range c.slots {
				if len(s.workers) == 0 {
					s.attempts = 0
				}
			}
			return e
		}},
		{breaks: lawPlace, as: "forgets that a successor boots", orders: workers(func(_ *core, _ time.Time, _ *slot, w *worker) {
			if w.successor && w.phase == booting {
				w.asked = true
			}
		})},
		{breaks: lawSurge, as: "has one more than the surge", told: on(func(_ *core, e configLoaded) event {
			if e.config != nil && e.config.Worker != nil {
				cfg, worker := *e.config, *e.config.Worker
				worker.MaxSurge = config.MaxSurge{N: worker.MaxSurge.N + 1}
				cfg.Worker = &worker
				e.config = &cfg
			}
			return e
		})},
		{breaks: lawCount, as: "drains when the new ones start", orders: func(c *core, now time.Time, e event, orders []action) []action {
			if _, ok := e.(configLoaded); ok && c.reload.rolling() {
				return too(c, orders, func() { drainAll(c, now) })
			}
			return orders
		}},
		{breaks: lawCount, as: "drains the old ones when a reload fails", orders: func(c *core, now time.Time, _ event, orders []action) []action {
			if logged(orders, "reload.failed") && !c.stop.asked {
				return too(c, orders, func() { drainAll(c, now) })
			}
			return orders
		}},
		{breaks: lawCount, as: "recycles without a successor", orders: func(c *core, now time.Time, _ event, orders []action) []action {
			if logged(orders, "worker.recycled") {
				return too(c, orders, func() { drainAll(c, now) })
			}
			return orders
		}},
		{breaks: lawReload, as: "says that a reload is done when it begins", orders: func(_ *core, _ time.Time, e event, orders []action) []action {
			if e, ok := e.(configLoaded); ok && e.err == "" && e.token == 0 && e.number < 9999 {
				return append(orders, record{event: "reload.done"})
			}
			return orders
		}},
		{breaks: lawReload, as: "goes over slot by slot, though the surge is enough for all", orders: func(c *core, now time.Time, _ event, orders []action) []action {
			if r := &c.reload; r.rolling() && r.atomic {
				return too(c, orders, func() {
					for _, s := range c.slots[:min(r.target, c.count)] {
						if w := s.successor(); w != nil && w.phase == ready {
							c.promote(now, s, w)
						}
					}
				})
			}
			return orders
		}},
		{breaks: lawScale, as: "takes the file's count with every reload", orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if _, ok := e.(configLoaded); ok && c.reload.rolling() && c.reload.generation.config.Worker != nil {
				c.reload.target = min(c.reload.generation.config.Worker.Count, len(c.slots))
			}
			return orders
		}},
		{breaks: lawScale, as: "forgets what users have scaled to while it rolls", told: on(func(c *core, e scaleAsked) event {
			if c.reload.rolling() && c.config.Worker != nil {
				c.reload.target++
				for len(c.slots) < c.reload.target {
					c.slots = append(c.slots, &slot{number: len(c.slots) + 1, generation: c.generation})
				}
				return timePassed{}
			}
			return e
		})},
		{breaks: lawStart, as: "replaces who dies during a stop", orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if e, ok := e.(workerExited); ok && c.stop.sent && !c.finished && e.slot >= 1 && e.slot <= len(c.slots) {
				s := c.slots[e.slot-1]
				s.attempts++
				return append(orders, startWorker{id{e.slot, s.attempts}, s.generation})
			}
			return orders
		}},
		{breaks: lawStart, as: "closes the sockets of a generation that boots", orders: each(func(a startWorker) []action {
			return []action{retireListeners{[]int{a.generation.number - 1}}, a}
		})},
		{breaks: lawStopSignal, as: "sends the stop signal again", orders: each(twice[signalWorker])},
		{breaks: lawStopSignal, as: "sends SIGQUIT always", orders: each(func(a signalWorker) []action {
			return []action{signalWorker{a.id, syscall.SIGQUIT}}
		})},
		{breaks: lawStopSignal, as: "signals who is gone", told: on(func(*core, workerExited) event { return timePassed{} })},
		{breaks: lawKill, as: "kills after half of the window", orders: workers(func(_ *core, now time.Time, _ *slot, w *worker) {
			if w.phase == draining || w.phase == aborting {
				half(&w.deadline, now)
			}
		})},
		{breaks: lawKill, as: "kills twice", orders: each(twice[signalWorkerGroup])},
		{breaks: lawKill, as: "kills who boots for half of boot_timeout", orders: workers(func(_ *core, now time.Time, _ *slot, w *worker) {
			if w.phase == booting {
				half(&w.deadline, now)
			}
		})},
		{breaks: lawStopEnds, as: "kills nobody", orders: each(never[signalWorkerGroup])},
		{breaks: lawStopEnds, as: "leaves windows alone when a stop becomes quick", orders: func(c *core, now time.Time, e event, orders []action) []action {
			if _, ok := e.(stopAsked); ok && c.stop.quick {
				for _, s := range c.slots {
					for _, w := range s.workers {
						if w.phase == draining {
							w.deadline = now.Add(w.generation.config.Server.GracefulTimeout)
						}
					}
				}
			}
			return orders
		}},
		{breaks: lawStopEnds, as: "does not hurry what a dead manager has left", orders: func(c *core, now time.Time, e event, orders []action) []action {
			if _, ok := e.(stopAsked); ok {
				for _, a := range c.manager.adopted {
					if !a.deadline.IsZero() {
						a.deadline = now.Add(a.window)
					}
				}
			}
			return orders
		}},
		{breaks: lawHeartbeat, as: "counts silence while it stood still itself", told: on(func(c *core, e timePassed) event {
			for _, s := range c.slots {
				for _, w := range s.workers {
					if w.phase == ready && !w.deadline.IsZero() {
						w.deadline = w.deadline.Add(unwatched) // as if the look were not so late
					}
				}
			}
			return e
		})},
		{breaks: lawHeartbeat, as: "does not hear beats", told: on(func(c *core, e workerSaid) event {
			if w := c.find(e.id); w != nil && !w.beatAt.IsZero() {
				e.beat = false
			}
			return e
		})},
		{breaks: lawHeartbeat, as: "minds no silence", orders: workers(func(_ *core, _ time.Time, _ *slot, w *worker) {
			if w.phase == ready {
				w.deadline = time.Time{}
			}
		})},
		{breaks: lawBackoff, as: "halves the delay of a slot", orders: func(c *core, now time.Time, _ event, orders []action) []action {
			for _, s := range c.slots {
				half(&s.retryAt, now)
			}
			return orders
		}},
		{breaks: lawBackoff, as: "does not count failures", told: on(func(c *core, e workerExited) event {
			if e.slot >= 1 && e.slot <= len(c.slots) {
				c.slots[e.slot-1].failures.Reset()
			}
			return e
		})},
		{breaks: lawBackoff, as: "does not forget failures", told: on(func(c *core, e workerExited) event {
			if w := c.find(e.id); w != nil {
				w.readyAt = time.Time{} // as if it had not served
			}
			return e
		})},
		{breaks: lawBackoff, as: "halves the delay of the manager", orders: func(c *core, now time.Time, _ event, orders []action) []action {
			if c.manager.phase == managerBackoff {
				half(&c.manager.deadline, now)
			}
			return orders
		}},
		{breaks: lawBackoff, as: "starts a manager a minute late", orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if _, died := e.(managerExited); died && logged(orders, "manager.backoff") {
				c.manager.deadline = c.manager.deadline.Add(time.Minute)
			}
			return orders
		}},
		{breaks: lawRest, as: "starts with the next fact", later: func(a action) bool { _, ok := a.(startWorker); return ok }},
		{breaks: lawForgotten, as: "forgets when a slot is to start", orders: func(c *core, _ time.Time, _ event, orders []action) []action {
			for _, s := range c.slots {
				s.retryAt = time.Time{}
			}
			return orders
		}},
		{breaks: lawForgotten, as: "forgets when the manager is to start", orders: func(c *core, _ time.Time, _ event, orders []action) []action {
			if c.manager.phase == managerBackoff && !c.manager.lives() {
				c.manager.deadline = time.Time{}
			}
			return orders
		}},
		{breaks: lawForgotten, as: "forgets an upgrade that was asked for during a reload", orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if e, ok := e.(upgradeAsked); ok && c.reload.phase == reloadIdle && c.upgrade.phase == upgradePreparing {
				c.upgrade.phase, c.upgrade.asked, c.upgrade.waiting = upgradeNone, []upgradeAsked{e}, nil
				return nil
			}
			return orders
		}},
		{breaks: lawClocks, as: "keeps the deadline of a phase", orders: workers(func(_ *core, now time.Time, _ *slot, w *worker) {
			if w.phase == killing {
				w.deadline = now.Add(time.Second)
			}
		})},
		{breaks: lawClocks, as: "drains without a deadline", orders: workers(func(_ *core, _ time.Time, _ *slot, w *worker) {
			if w.phase == draining {
				w.deadline = time.Time{}
			}
		})},
		{breaks: lawClocks, as: "asks for a look that changes nothing", orders: workers(func(_ *core, now time.Time, s *slot, w *worker) {
			if w.phase == ready {
				s.recycleAt = now
			}
		})},
		{breaks: lawListeners, as: "keeps listeners that nobody uses", orders: each(never[retireListeners])},
		{breaks: lawListeners, as: "closes the listeners of the other generation", orders: each(func(a retireListeners) []action {
			return []action{retireListeners{a.keep[1:]}}
		})},
		{breaks: lawNumber, as: "uses the number of a failed generation again", orders: func(c *core, _ time.Time, _ event, orders []action) []action {
			if logged(orders, "reload.failed") && c.reload.phase == reloadIdle {
				c.reload.highest = c.generation.number
			}
			return orders
		}},
		{breaks: lawManager, as: "does not know what a dead manager has left", told: on(func(c *core, e managerExited) event {
			clear(c.manager.instances)
			return e
		})},
		{breaks: lawManager, as: "does not look for strays", told: on(func(_ *core, e managerExited) event {
			e.strays = nil
			return e
		})},
		{breaks: lawManager, as: "does not wait for the older arbiter", told: on(func(c *core, e began) event {
			c.upgrade.parent = 0
			return e
		})},
		{breaks: lawManagerKill, as: "ends the manager when a companion is removed", orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if _, ok := e.(configLoaded); ok && c.manager.leader {
				return append(orders, tellManager{c.manager.attempt, link.Message{Stop: &link.Stop{}}})
			}
			return orders
		}},
		{breaks: lawManagerKill, as: "kills the manager after half of its window", orders: func(c *core, now time.Time, _ event, orders []action) []action {
			if c.manager.phase == managerStopping {
				half(&c.manager.deadline, now)
			}
			return orders
		}},
		{breaks: lawAdopted, as: "kills what a dead manager has left after half of its window", orders: func(c *core, now time.Time, _ event, orders []action) []action {
			for _, a := range c.manager.adopted {
				half(&a.deadline, now)
			}
			return orders
		}},
		{breaks: lawAdopted, as: "stops a companion itself", orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if e, ok := e.(actAsked); ok && e.act.Op == control.OpStop {
				for _, i := range c.manager.instances {
					orders = append(orders, signalAdopted{i.Group, true, syscall.SIGTERM})
				}
			}
			return orders
		}},
		{breaks: lawAdopted, as: "asks once more whose manager had to be killed", orders: each(func(a signalAdopted) []action {
			if a.signal == syscall.SIGKILL {
				return []action{signalAdopted{a.group, a.whole, syscall.SIGTERM}, a}
			}
			return []action{a}
		})},
		{breaks: lawApart, as: "restarts workers with the manager", orders: func(c *core, now time.Time, e event, orders []action) []action {
			if _, ok := e.(managerExited); ok && !c.stop.asked {
				return too(c, orders, func() { drainAll(c, now) })
			}
			return orders
		}},
		{breaks: lawApart, as: "ends all for a boot that fails later", told: on(func(c *core, e workerExited) event {
			c.served = false
			return e
		})},
		{breaks: lawAnswer, as: "answers twice", orders: each(twice[reply])},
		{breaks: lawAnswer, as: "does not answer a reload", orders: each(func(a reply) []action {
			if _, ok := a.value.(*control.Reload); ok {
				return nil
			}
			return []action{a}
		})},
		{breaks: lawStatus, as: "does not show who drains", orders: each(func(a reply) []action {
			if s, ok := a.value.(*control.Status); ok {
				s.Workers.List = slices.DeleteFunc(s.Workers.List, func(w control.Worker) bool { return w.State == control.WorkerDraining })
			}
			return []action{a}
		})},
		{breaks: lawSibling, as: "forgets the younger arbiter", told: on(func(c *core, e upgradeAsked) event {
			c.upgrade.phase = upgradeNone
			return e
		})},
		{breaks: lawSibling, as: "upgrades as the first process", told: on(func(c *core, e upgradeAsked) event {
			c.pid = 7
			return e
		}), orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if _, ok := e.(upgradeAsked); ok {
				c.pid = 1
			}
			return orders
		}},
		{breaks: lawUnlink, as: "removes the paths always", orders: each(func(closeListeners) []action { return []action{closeListeners{unlink: true}} })},
		{breaks: lawUnlink, as: "removes the paths never", orders: each(func(closeListeners) []action { return []action{closeListeners{}} })},
		{breaks: lawPromotion, as: "says twice that it serves", orders: each(twice[tellParent])},
		{breaks: lawPromotion, as: "takes over when it serves", orders: each(func(a tellParent) []action { return []action{a, promote{}} })},
		{breaks: lawFinish, as: "does not wait for groups", told: on(func(_ *core, e workerExited) event {
			e.groupAlive = false
			return e
		})},
		{breaks: lawFinish, as: "ends twice", orders: each(twice[finish])},
		{breaks: lawFinish, as: "has a shutdown delay twice", orders: func(c *core, now time.Time, e event, orders []action) []action {
			if _, ok := e.(stopAsked); ok && c.stop.at.After(now) {
				c.stop.at = c.stop.at.Add(budget)
			}
			return orders
		}},
	}
}
