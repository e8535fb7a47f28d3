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

// mutation makes the core wrong in one way. See [historytest.Mutation].
type mutation = historytest.Mutation[*core, event, action]

// take has the core take a fact in, made wrong or as it is.
func (w *world) take(e event) []action {
	return w.wrong.Step((*core).step, nil, w.core, w.now, e)
}

// Every law catches the core that breaks it. Lines of the core's sources were left out
// or turned round one by one as well, each where no adapter reaches: all were caught
// but those that change nothing.
func TestEveryLawCatchesItsMutations(t *testing.T) {
	historytest.HuntAll(t, laws(), mutations(), func(t *rapid.T, wrong *mutation) {
		newWorld(t, historytest.NewScript(t), &historytest.Census{}, wrong).play()
	})
}

// each alters the orders of a kind.
func each[A action](change func(a A) []action) func(*core, time.Time, event, []action) []action {
	return historytest.Each[*core, event](change)
}

func twice[A action](a A) []action { return []action{a, a} }

func never[A action](A) []action { return nil }

// on alters what the core is told, or knows, when it is told such a fact.
func on[E event](change func(c *core, e E) event) func(*core, event) event {
	return historytest.On(change)
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
		{Breaks: lawPlace, As: "starts twice", Orders: each(twice[startWorker])},
		{Breaks: lawPlace, As: "counts attempts from one again", Told: func(c *core, e event) event {
			for _, s := range c.slots {
				if len(s.workers) == 0 {
					s.attempts = 0
				}
			}
			return e
		}},
		{Breaks: lawPlace, As: "forgets that a successor boots", Orders: workers(func(_ *core, _ time.Time, _ *slot, w *worker) {
			if w.successor && w.phase == booting {
				w.asked = true
			}
		})},
		{Breaks: lawSurge, As: "has one more than the surge", Told: on(func(_ *core, e configLoaded) event {
			if e.config != nil && e.config.Worker != nil {
				cfg, worker := *e.config, *e.config.Worker
				worker.MaxSurge = config.MaxSurge{N: worker.MaxSurge.N + 1}
				cfg.Worker = &worker
				e.config = &cfg
			}
			return e
		})},
		{Breaks: lawCount, As: "drains when the new ones start", Orders: func(c *core, now time.Time, e event, orders []action) []action {
			if _, ok := e.(configLoaded); ok && c.reload.rolling() {
				return too(c, orders, func() { drainAll(c, now) })
			}
			return orders
		}},
		{Breaks: lawCount, As: "drains the old ones when a reload fails", Orders: func(c *core, now time.Time, _ event, orders []action) []action {
			if logged(orders, "reload.failed") && !c.stop.asked {
				return too(c, orders, func() { drainAll(c, now) })
			}
			return orders
		}},
		{Breaks: lawCount, As: "recycles without a successor", Orders: func(c *core, now time.Time, _ event, orders []action) []action {
			if logged(orders, "worker.recycled") {
				return too(c, orders, func() { drainAll(c, now) })
			}
			return orders
		}},
		{Breaks: lawReload, As: "says that a reload is done when it begins", Orders: func(_ *core, _ time.Time, e event, orders []action) []action {
			if e, ok := e.(configLoaded); ok && e.err == "" && e.token == 0 && e.number < 9999 {
				return append(orders, record{event: "reload.done"})
			}
			return orders
		}},
		{Breaks: lawReload, As: "goes over slot by slot, though the surge is enough for all", Orders: func(c *core, now time.Time, _ event, orders []action) []action {
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
		{Breaks: lawScale, As: "takes the file's count with every reload", Orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if _, ok := e.(configLoaded); ok && c.reload.rolling() && c.reload.generation.config.Worker != nil {
				c.reload.target = min(c.reload.generation.config.Worker.Count, len(c.slots))
			}
			return orders
		}},
		{Breaks: lawScale, As: "forgets what users have scaled to while it rolls", Told: on(func(c *core, e scaleAsked) event {
			if c.reload.rolling() && c.config.Worker != nil {
				c.reload.target++
				for len(c.slots) < c.reload.target {
					c.slots = append(c.slots, &slot{number: len(c.slots) + 1, generation: c.generation})
				}
				return timePassed{}
			}
			return e
		})},
		{Breaks: lawStart, As: "replaces who dies during a stop", Orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if e, ok := e.(workerExited); ok && c.stop.sent && !c.finished && e.slot >= 1 && e.slot <= len(c.slots) {
				s := c.slots[e.slot-1]
				s.attempts++
				return append(orders, startWorker{id{e.slot, s.attempts}, s.generation})
			}
			return orders
		}},
		{Breaks: lawStart, As: "closes the sockets of a generation that boots", Orders: each(func(a startWorker) []action {
			return []action{retireListeners{[]int{a.generation.number - 1}}, a}
		})},
		{Breaks: lawStopSignal, As: "sends the stop signal again", Orders: each(twice[signalWorker])},
		{Breaks: lawStopSignal, As: "sends SIGQUIT always", Orders: each(func(a signalWorker) []action {
			return []action{signalWorker{a.id, syscall.SIGQUIT}}
		})},
		{Breaks: lawStopSignal, As: "signals who is gone", Told: on(func(*core, workerExited) event { return timePassed{} })},
		{Breaks: lawKill, As: "kills after half of the window", Orders: workers(func(_ *core, now time.Time, _ *slot, w *worker) {
			if w.phase == draining || w.phase == aborting {
				historytest.Half(&w.deadline, now)
			}
		})},
		{Breaks: lawKill, As: "kills twice", Orders: each(twice[signalWorkerGroup])},
		{Breaks: lawKill, As: "kills who boots for half of boot_timeout", Orders: workers(func(_ *core, now time.Time, _ *slot, w *worker) {
			if w.phase == booting {
				historytest.Half(&w.deadline, now)
			}
		})},
		{Breaks: lawStopEnds, As: "kills nobody", Orders: each(never[signalWorkerGroup])},
		{Breaks: lawStopEnds, As: "leaves windows alone when a stop becomes quick", Orders: func(c *core, now time.Time, e event, orders []action) []action {
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
		{Breaks: lawStopEnds, As: "does not hurry what a dead manager has left", Orders: func(c *core, now time.Time, e event, orders []action) []action {
			if _, ok := e.(stopAsked); ok {
				for _, a := range c.manager.adopted {
					if !a.deadline.IsZero() {
						a.deadline = now.Add(a.window)
					}
				}
			}
			return orders
		}},
		{Breaks: lawHeartbeat, As: "counts silence while it stood still itself", Told: on(func(c *core, e timePassed) event {
			for _, s := range c.slots {
				for _, w := range s.workers {
					if w.phase == ready && !w.deadline.IsZero() {
						w.deadline = w.deadline.Add(unwatched) // as if the look were not so late
					}
				}
			}
			return e
		})},
		{Breaks: lawHeartbeat, As: "does not hear beats", Told: on(func(c *core, e workerSaid) event {
			if w := c.find(e.id); w != nil && !w.beatAt.IsZero() {
				e.beat = false
			}
			return e
		})},
		{Breaks: lawHeartbeat, As: "minds no silence", Orders: workers(func(_ *core, _ time.Time, _ *slot, w *worker) {
			if w.phase == ready {
				w.deadline = time.Time{}
			}
		})},
		{Breaks: lawBackoff, As: "halves the delay of a slot", Orders: func(c *core, now time.Time, _ event, orders []action) []action {
			for _, s := range c.slots {
				historytest.Half(&s.retryAt, now)
			}
			return orders
		}},
		{Breaks: lawBackoff, As: "does not count failures", Told: on(func(c *core, e workerExited) event {
			if e.slot >= 1 && e.slot <= len(c.slots) {
				c.slots[e.slot-1].failures.Reset()
			}
			return e
		})},
		{Breaks: lawBackoff, As: "does not forget failures", Told: on(func(c *core, e workerExited) event {
			if w := c.find(e.id); w != nil {
				w.readyAt = time.Time{} // as if it had not served
			}
			return e
		})},
		{Breaks: lawBackoff, As: "halves the delay of the manager", Orders: func(c *core, now time.Time, _ event, orders []action) []action {
			if c.manager.phase == managerBackoff {
				historytest.Half(&c.manager.deadline, now)
			}
			return orders
		}},
		{Breaks: lawBackoff, As: "starts a manager a minute late", Orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if _, died := e.(managerExited); died && logged(orders, "manager.backoff") {
				c.manager.deadline = c.manager.deadline.Add(time.Minute)
			}
			return orders
		}},
		{Breaks: lawRest, As: "starts with the next fact", Later: func(a action) bool { _, ok := a.(startWorker); return ok }},
		{Breaks: lawForgotten, As: "forgets when a slot is to start", Orders: func(c *core, _ time.Time, _ event, orders []action) []action {
			for _, s := range c.slots {
				s.retryAt = time.Time{}
			}
			return orders
		}},
		{Breaks: lawForgotten, As: "forgets when the manager is to start", Orders: func(c *core, _ time.Time, _ event, orders []action) []action {
			if c.manager.phase == managerBackoff && !c.manager.lives() {
				c.manager.deadline = time.Time{}
			}
			return orders
		}},
		{Breaks: lawForgotten, As: "forgets an upgrade that was asked for during a reload", Orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if e, ok := e.(upgradeAsked); ok && c.reload.phase == reloadIdle && c.upgrade.phase == upgradePreparing {
				c.upgrade.phase, c.upgrade.asked, c.upgrade.waiting = upgradeNone, []upgradeAsked{e}, nil
				return nil
			}
			return orders
		}},
		{Breaks: lawClocks, As: "keeps the deadline of a phase", Orders: workers(func(_ *core, now time.Time, _ *slot, w *worker) {
			if w.phase == killing {
				w.deadline = now.Add(time.Second)
			}
		})},
		{Breaks: lawClocks, As: "drains without a deadline", Orders: workers(func(_ *core, _ time.Time, _ *slot, w *worker) {
			if w.phase == draining {
				w.deadline = time.Time{}
			}
		})},
		{Breaks: lawClocks, As: "asks for a look that changes nothing", Orders: workers(func(_ *core, now time.Time, s *slot, w *worker) {
			if w.phase == ready {
				s.recycleAt = now
			}
		})},
		{Breaks: lawListeners, As: "keeps listeners that nobody uses", Orders: each(never[retireListeners])},
		{Breaks: lawListeners, As: "closes the listeners of the other generation", Orders: each(func(a retireListeners) []action {
			return []action{retireListeners{a.keep[1:]}}
		})},
		{Breaks: lawNumber, As: "uses the number of a failed generation again", Orders: func(c *core, _ time.Time, _ event, orders []action) []action {
			if logged(orders, "reload.failed") && c.reload.phase == reloadIdle {
				c.reload.highest = c.generation.number
			}
			return orders
		}},
		{Breaks: lawManager, As: "does not know what a dead manager has left", Told: on(func(c *core, e managerExited) event {
			clear(c.manager.instances)
			return e
		})},
		{Breaks: lawManager, As: "does not look for strays", Told: on(func(_ *core, e managerExited) event {
			e.strays = nil
			return e
		})},
		{Breaks: lawManager, As: "does not wait for the older arbiter", Told: on(func(c *core, e began) event {
			c.upgrade.parent = 0
			return e
		})},
		{Breaks: lawManagerKill, As: "ends the manager when a companion is removed", Orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if _, ok := e.(configLoaded); ok && c.manager.leader {
				return append(orders, tellManager{c.manager.attempt, link.Message{Stop: &link.Stop{}}})
			}
			return orders
		}},
		{Breaks: lawManagerKill, As: "kills the manager after half of its window", Orders: func(c *core, now time.Time, _ event, orders []action) []action {
			if c.manager.phase == managerStopping {
				historytest.Half(&c.manager.deadline, now)
			}
			return orders
		}},
		{Breaks: lawAdopted, As: "kills what a dead manager has left after half of its window", Orders: func(c *core, now time.Time, _ event, orders []action) []action {
			for _, a := range c.manager.adopted {
				historytest.Half(&a.deadline, now)
			}
			return orders
		}},
		{Breaks: lawAdopted, As: "stops a companion itself", Orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if e, ok := e.(actAsked); ok && e.act.Op == control.OpStop {
				for _, i := range c.manager.instances {
					orders = append(orders, signalAdopted{i.Group, true, syscall.SIGTERM})
				}
			}
			return orders
		}},
		{Breaks: lawAdopted, As: "asks once more whose manager had to be killed", Orders: each(func(a signalAdopted) []action {
			if a.signal == syscall.SIGKILL {
				return []action{signalAdopted{a.group, a.whole, syscall.SIGTERM}, a}
			}
			return []action{a}
		})},
		{Breaks: lawApart, As: "restarts workers with the manager", Orders: func(c *core, now time.Time, e event, orders []action) []action {
			if _, ok := e.(managerExited); ok && !c.stop.asked {
				return too(c, orders, func() { drainAll(c, now) })
			}
			return orders
		}},
		{Breaks: lawApart, As: "ends all for a boot that fails later", Told: on(func(c *core, e workerExited) event {
			c.served = false
			return e
		})},
		{Breaks: lawAnswer, As: "answers twice", Orders: each(twice[reply])},
		{Breaks: lawAnswer, As: "does not answer a reload", Orders: each(func(a reply) []action {
			if _, ok := a.value.(*control.Reload); ok {
				return nil
			}
			return []action{a}
		})},
		{Breaks: lawStatus, As: "does not show who drains", Orders: each(func(a reply) []action {
			if s, ok := a.value.(*control.Status); ok {
				s.Workers.List = slices.DeleteFunc(s.Workers.List, func(w control.Worker) bool { return w.State == control.WorkerDraining })
			}
			return []action{a}
		})},
		{Breaks: lawSibling, As: "forgets the younger arbiter", Told: on(func(c *core, e upgradeAsked) event {
			c.upgrade.phase = upgradeNone
			return e
		})},
		{Breaks: lawSibling, As: "upgrades as the first process", Told: on(func(c *core, e upgradeAsked) event {
			c.pid = 7
			return e
		}), Orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if _, ok := e.(upgradeAsked); ok {
				c.pid = 1
			}
			return orders
		}},
		{Breaks: lawUnlink, As: "removes the paths always", Orders: each(func(closeListeners) []action { return []action{closeListeners{unlink: true}} })},
		{Breaks: lawUnlink, As: "removes the paths never", Orders: each(func(closeListeners) []action { return []action{closeListeners{}} })},
		{Breaks: lawPromotion, As: "says twice that it serves", Orders: each(twice[tellParent])},
		{Breaks: lawPromotion, As: "takes over when it serves", Orders: each(func(a tellParent) []action { return []action{a, promote{}} })},
		{Breaks: lawFinish, As: "does not wait for groups", Told: on(func(_ *core, e workerExited) event {
			e.groupAlive = false
			return e
		})},
		{Breaks: lawFinish, As: "ends twice", Orders: each(twice[finish])},
		{Breaks: lawFinish, As: "has a shutdown delay twice", Orders: func(c *core, now time.Time, e event, orders []action) []action {
			if _, ok := e.(stopAsked); ok && c.stop.at.After(now) {
				c.stop.at = c.stop.at.Add(budget)
			}
			return orders
		}},
	}
}
