package companion

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
	return w.wrong.Step((*core).step, (*core).stands, w.core, w.now, e)
}

// stands makes the core stand by what a mutation has altered: it looks at the clock
// then, and that is what it tells.
func (c *core) stands(orders []action) {
	for _, i := range c.instances {
		c.agenda.put(i)
	}
	for n, o := range orders {
		if s, ok := o.(send); ok && s.message.Instance != nil {
			if i := c.byKey[key{s.message.Instance.Name, s.message.Instance.Instance}]; i != nil {
				orders[n] = send{link.Message{Instance: i.view()}}
			}
		}
	}
}

// Every law catches the core that breaks it. Lines of the core's sources were left out
// or turned round one by one as well, each where no adapter reaches: all were caught
// but those that change nothing.
func TestEveryLawCatchesItsMutations(t *testing.T) {
	arrows := pairs(t)
	historytest.HuntAll(t, laws(), mutations(), func(t *rapid.T, wrong *mutation) {
		newWorld(t, historytest.NewScript(t), &historytest.Census{}, arrows, wrong).play()
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

// instances does something to each.
func instances(f func(now time.Time, i *instance)) func(*core, time.Time, event, []action) []action {
	return func(c *core, now time.Time, _ event, orders []action) []action {
		for _, i := range c.instances {
			f(now, i)
		}
		return orders
	}
}

// backsOff does something to who has just entered BACKOFF.
func backsOff(f func(now time.Time, i *instance)) func(*core, time.Time, event, []action) []action {
	return func(c *core, now time.Time, _ event, orders []action) []action {
		for _, o := range orders {
			if r, ok := o.(record); ok && r.event == "companion.backoff" {
				f(now, c.byKey[key{attr(r, "companion").(string), int(attr(r, "instance").(int64))}])
			}
		}
		return orders
	}
}

// messages alters what the arbiter is told.
func messages(change func(m link.Message) []action) func(*core, time.Time, event, []action) []action {
	return each(func(a send) []action { return change(a.message) })
}

func mutations() []mutation {
	return []mutation{
		{Breaks: lawAlone, As: "starts twice", Orders: each(twice[startProcess])},
		{Breaks: lawAlone, As: "forgets the members of a group", Told: on(func(_ *core, e processExited) event {
			e.groupAlive = false
			return e
		})},
		{Breaks: lawAlone, As: "counts attempts from one again", Told: func(c *core, e event) event {
			for k := range c.attempts {
				if c.byKey[k] == nil {
					delete(c.attempts, k)
				}
			}
			return e
		}},
		{Breaks: lawStart, As: "restarts during a shutdown", Orders: func(c *core, _ time.Time, _ event, orders []action) []action {
			for _, i := range c.instances {
				if c.shutdown && i.phase == stopping && i.then == thenStop {
					i.then = thenStart
				}
			}
			return orders
		}},
		{Breaks: lawStart, As: "starts with an apply what a user has stopped", Told: on(func(c *core, e applyAsked) event {
			for _, i := range c.instances {
				i.wanted = true
			}
			return e
		})},
		{Breaks: lawStart, As: "forgets over a restart of its own what users have stopped", Told: on(func(_ *core, e applyAsked) event {
			e.Remembered = slices.Clone(e.Remembered)
			for n := range e.Remembered {
				e.Remembered[n].Desired = control.Up
			}
			return e
		})},
		{Breaks: lawBackoff, As: "halves the delay", Orders: backsOff(func(now time.Time, i *instance) { historytest.Half(&i.deadline, now) })},
		{Breaks: lawBackoff, As: "restarts a minute late", Orders: backsOff(func(_ time.Time, i *instance) { i.deadline = i.deadline.Add(time.Minute) })},
		{Breaks: lawStopSignal, As: "sends the stop signal again", Orders: each(twice[signalGroup])},
		{Breaks: lawStopSignal, As: "forgets that it has signaled", Orders: instances(func(_ time.Time, i *instance) { i.signaled = false })},
		{Breaks: lawKill, As: "kills after half of the window", Orders: instances(func(now time.Time, i *instance) {
			if i.phase == stopping {
				historytest.Half(&i.deadline, now)
			}
		})},
		{Breaks: lawKill, As: "kills at once", Orders: each(func(a signalGroup) []action {
			return []action{a, signalGroup{a.id, syscall.SIGKILL}}
		})},
		{Breaks: lawStopEnds, As: "kills nobody", Orders: each(func(a signalGroup) []action {
			if a.signal == syscall.SIGKILL {
				return nil
			}
			return []action{a}
		})},
		{Breaks: lawStopEnds, As: "gives a second stop a window of its own", Orders: func(c *core, now time.Time, e event, orders []action) []action {
			if _, ok := e.(shutdownAsked); ok {
				for _, i := range c.instances {
					if i.phase == stopping && !i.killed {
						i.deadline = now.Add(i.live.StopTimeout)
					}
				}
			}
			return orders
		}},
		{Breaks: lawLevel, As: "minds an end that somebody wanted", Orders: each(func(a record) []action {
			if a.event == "companion.exited" {
				a.level = alarm
			}
			return []action{a}
		})},
		{Breaks: lawAnswer, As: "answers twice", Orders: messages(func(m link.Message) []action {
			if m.Done != nil {
				return twice(send{m})
			}
			return []action{send{m}}
		})},
		{Breaks: lawAnswer, As: "answers no apply", Orders: messages(func(m link.Message) []action {
			if m.Applied != nil {
				return nil
			}
			return []action{send{m}}
		})},
		{Breaks: lawAnswer, As: "says that a stop is done when it is asked for", Told: on(func(_ *core, e actAsked) event {
			e.Wait = false
			return e
		})},
		{Breaks: lawAnswer, As: "says that an apply is done before it is", Told: func(c *core, e event) event {
			if c.pending != nil {
				clear(c.pending.open)
			}
			return e
		}},
		{Breaks: lawOrder, As: "reports what has changed at last", Orders: func(_ *core, _ time.Time, _ event, orders []action) []action {
			slices.SortStableFunc(orders, func(a, b action) int {
				last := func(a action) int {
					if s, ok := a.(send); ok && s.message.Instance != nil {
						return 1
					}
					return 0
				}
				return last(a) - last(b)
			})
			return orders
		}},
		{Breaks: lawMirror, As: "does not report what is removed", Orders: messages(func(m link.Message) []action {
			if m.Removed != nil {
				return nil
			}
			return []action{send{m}}
		})},
		{Breaks: lawMirror, As: "does not report a kill", Orders: messages(func(m link.Message) []action {
			if i := m.Instance; i != nil && i.StopKills > 0 {
				return nil
			}
			return []action{send{m}}
		})},
		{Breaks: lawFailures, As: "forgets failures with each end", Told: on(func(c *core, e processExited) event {
			if i := c.current(e.id); i != nil {
				i.failures.Reset()
			}
			return e
		})},
		{Breaks: lawFailures, As: "never gives up", Told: func(c *core, e event) event {
			for _, i := range c.instances {
				if i.live.Startretries > 0 {
					live := *i.live
					live.Startretries = 0
					i.live = &live
				}
			}
			return e
		}},
		{Breaks: lawFailures, As: "counts an end that somebody wanted", Orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if e, ok := e.(processExited); ok {
				if i := c.current(e.id); i != nil && i.phase == stopping {
					i.failures.Failures++
				}
			}
			return orders
		}},
		{Breaks: lawFailures, As: "keeps the failures of another spec", Orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if _, ok := e.(applyAsked); ok {
				for _, i := range c.instances {
					if i.phase == starting && i.exits > 0 {
						i.failures.Failures = 1
					}
				}
			}
			return orders
		}},
		{Breaks: lawApply, As: "restarts what has not changed", Told: on(func(c *core, e applyAsked) event {
			for _, i := range c.instances {
				spec := *i.spec
				spec.Hash = "other"
				i.spec = &spec
			}
			return e
		})},
		{Breaks: lawApply, As: "does not see that a spec has changed", Told: on(func(c *core, e applyAsked) event {
			e.Specs = slices.Clone(e.Specs)
			for n, s := range e.Specs {
				if i := c.byKey[key{s.Name, 1}]; i != nil {
					e.Specs[n].Hash = i.spec.Hash
				}
			}
			return e
		})},
		{Breaks: lawApply, As: "keeps what is not configured any more", Told: on(func(c *core, e applyAsked) event {
			e.Specs = slices.Clone(e.Specs)
			for _, i := range c.instances {
				if !slices.ContainsFunc(e.Specs, func(s config.Companion) bool { return s.Name == i.name }) {
					e.Specs = append(e.Specs, *i.spec)
				}
			}
			return e
		})},
		{Breaks: lawWaiters, As: "keeps who has got an answer", Orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if e, ok := e.(processExited); ok {
				if i := c.current(e.id); i != nil && i.phase == stopped {
					c.waiters = append(c.waiters, &waiter{act: link.Act{Op: opStop}, pending: []*instance{i}})
				}
			}
			return orders
		}},
		{Breaks: lawClocks, As: "keeps the deadline of a phase", Orders: instances(func(now time.Time, i *instance) {
			if i.phase == running {
				i.deadline = now.Add(time.Hour)
			}
		})},
		{Breaks: lawClocks, As: "looks at the clock a second late", Told: func(c *core, e event) event {
			for _, i := range c.agenda {
				i.at = i.at.Add(time.Second)
			}
			return e
		}},
		{Breaks: lawForEver, As: "waits before a restart for ever", Orders: backsOff(func(_ time.Time, i *instance) { i.deadline = time.Time{} })},
		{Breaks: lawForEver, As: "waits for the end of a stop for ever", Orders: instances(func(_ time.Time, i *instance) {
			if i.phase == stopping {
				i.deadline = time.Time{}
			}
		})},
		{Breaks: lawRest, As: "starts with the next fact", Later: func(a action) bool { _, ok := a.(startProcess); return ok }},
		{Breaks: lawFinal, As: "does not tell the end of an essential companion", Orders: messages(func(m link.Message) []action {
			if m.Final != nil {
				return nil
			}
			return []action{send{m}}
		})},
		{Breaks: lawFinal, As: "ends all with 0", Orders: messages(func(m link.Message) []action {
			if m.Final != nil {
				m.Final = &link.Final{Name: m.Final.Name, Instance: m.Final.Instance}
			}
			return []action{send{m}}
		})},
		{Breaks: lawDiagram, As: "goes from EXITED to BACKOFF", Orders: instances(func(_ time.Time, i *instance) {
			if i.phase == exited {
				i.phase = backoff
			}
		})},
		{Breaks: lawFinish, As: "ends with members left behind", Orders: func(c *core, _ time.Time, _ event, orders []action) []action {
			if c.shutdown && !c.finished && !slices.ContainsFunc(c.instances, func(i *instance) bool { return i.leader }) {
				c.finished = true
				return append(orders, finish{})
			}
			return orders
		}},
		{Breaks: lawFinish, As: "ends twice", Orders: each(twice[finish])},
		{Breaks: lawForEver, As: "does not end", Orders: each(never[finish])},
	}
}
