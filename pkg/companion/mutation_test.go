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
		c.stands(orders)
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
	caught := map[law]bool{}
	for _, m := range mutations() {
		caught[m.breaks] = true
		t.Run(m.as, func(t *testing.T) {
			var census historytest.Census
			after, others := historytest.Hunt(string(m.breaks), 3000, func(t *rapid.T) {
				wrong := m
				newWorld(t, historytest.NewScript(t), &census, arrows, &wrong).play()
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

// half of what is left until then.
func half(at *time.Time, now time.Time) {
	if at.After(now) {
		*at = now.Add(at.Sub(now) / 2)
	}
}

// messages alters what the arbiter is told.
func messages(change func(m link.Message) []action) func(*core, time.Time, event, []action) []action {
	return each(func(a send) []action { return change(a.message) })
}

func mutations() []mutation {
	return []mutation{
		{breaks: lawAlone, as: "starts twice", orders: each(twice[startProcess])},
		{breaks: lawAlone, as: "forgets the members of a group", told: on(func(_ *core, e processExited) event {
			e.groupAlive = false
			return e
		})},
		{breaks: lawAlone, as: "counts attempts from one again", told: func(c *core, e event) event {
			for k := range c.attempts {
				if c.byKey[k] == nil {
					delete(c.attempts, k)
				}
			}
			return e
		}},
		{breaks: lawStart, as: "restarts during a shutdown", orders: func(c *core, _ time.Time, _ event, orders []action) []action {
			for _, i := range c.instances {
				if c.shutdown && i.phase == stopping && i.then == thenStop {
					i.then = thenStart
				}
			}
			return orders
		}},
		{breaks: lawStart, as: "starts with an apply what a user has stopped", told: on(func(c *core, e applyAsked) event {
			for _, i := range c.instances {
				i.wanted = true
			}
			return e
		})},
		{breaks: lawStart, as: "forgets over a restart of its own what users have stopped", told: on(func(_ *core, e applyAsked) event {
			e.Remembered = slices.Clone(e.Remembered)
			for n := range e.Remembered {
				e.Remembered[n].Desired = control.Up
			}
			return e
		})},
		{breaks: lawBackoff, as: "halves the delay", orders: backsOff(func(now time.Time, i *instance) { half(&i.deadline, now) })},
		{breaks: lawBackoff, as: "restarts a minute late", orders: backsOff(func(_ time.Time, i *instance) { i.deadline = i.deadline.Add(time.Minute) })},
		{breaks: lawStopSignal, as: "sends the stop signal again", orders: each(twice[signalGroup])},
		{breaks: lawStopSignal, as: "forgets that it has signaled", orders: instances(func(_ time.Time, i *instance) { i.signaled = false })},
		{breaks: lawKill, as: "kills after half of the window", orders: instances(func(now time.Time, i *instance) {
			if i.phase == stopping {
				half(&i.deadline, now)
			}
		})},
		{breaks: lawKill, as: "kills at once", orders: each(func(a signalGroup) []action {
			return []action{a, signalGroup{a.id, syscall.SIGKILL}}
		})},
		{breaks: lawStopEnds, as: "kills nobody", orders: each(func(a signalGroup) []action {
			if a.signal == syscall.SIGKILL {
				return nil
			}
			return []action{a}
		})},
		{breaks: lawStopEnds, as: "gives a second stop a window of its own", orders: func(c *core, now time.Time, e event, orders []action) []action {
			if _, ok := e.(shutdownAsked); ok {
				for _, i := range c.instances {
					if i.phase == stopping && !i.killed {
						i.deadline = now.Add(i.live.StopTimeout)
					}
				}
			}
			return orders
		}},
		{breaks: lawLevel, as: "minds an end that somebody wanted", orders: each(func(a record) []action {
			if a.event == "companion.exited" {
				a.level = alarm
			}
			return []action{a}
		})},
		{breaks: lawAnswer, as: "answers twice", orders: messages(func(m link.Message) []action {
			if m.Done != nil {
				return twice(send{m})
			}
			return []action{send{m}}
		})},
		{breaks: lawAnswer, as: "answers no apply", orders: messages(func(m link.Message) []action {
			if m.Applied != nil {
				return nil
			}
			return []action{send{m}}
		})},
		{breaks: lawAnswer, as: "says that a stop is done when it is asked for", told: on(func(_ *core, e actAsked) event {
			e.Wait = false
			return e
		})},
		{breaks: lawAnswer, as: "says that an apply is done before it is", told: func(c *core, e event) event {
			if c.pending != nil {
				clear(c.pending.open)
			}
			return e
		}},
		{breaks: lawOrder, as: "reports what has changed at last", orders: func(_ *core, _ time.Time, _ event, orders []action) []action {
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
		{breaks: lawMirror, as: "does not report what is removed", orders: messages(func(m link.Message) []action {
			if m.Removed != nil {
				return nil
			}
			return []action{send{m}}
		})},
		{breaks: lawMirror, as: "does not report a kill", orders: messages(func(m link.Message) []action {
			if i := m.Instance; i != nil && i.StopKills > 0 {
				return nil
			}
			return []action{send{m}}
		})},
		{breaks: lawFailures, as: "forgets failures with each end", told: on(func(c *core, e processExited) event {
			if i := c.current(e.id); i != nil {
				i.failures.Reset()
			}
			return e
		})},
		{breaks: lawFailures, as: "never gives up", told: func(c *core, e event) event {
			for _, i := range c.instances {
				if i.live.Startretries > 0 {
					live := *i.live
					live.Startretries = 0
					i.live = &live
				}
			}
			return e
		}},
		{breaks: lawFailures, as: "counts an end that somebody wanted", orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if e, ok := e.(processExited); ok {
				if i := c.current(e.id); i != nil && i.phase == stopping {
					i.failures.Failures++
				}
			}
			return orders
		}},
		{breaks: lawFailures, as: "keeps the failures of another spec", orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if _, ok := e.(applyAsked); ok {
				for _, i := range c.instances {
					if i.phase == starting && i.exits > 0 {
						i.failures.Failures = 1
					}
				}
			}
			return orders
		}},
		{breaks: lawApply, as: "restarts what has not changed", told: on(func(c *core, e applyAsked) event {
			for _, i := range c.instances {
				spec := *i.spec
				spec.Hash = "other"
				i.spec = &spec
			}
			return e
		})},
		{breaks: lawApply, as: "does not see that a spec has changed", told: on(func(c *core, e applyAsked) event {
			e.Specs = slices.Clone(e.Specs)
			for n, s := range e.Specs {
				if i := c.byKey[key{s.Name, 1}]; i != nil {
					e.Specs[n].Hash = i.spec.Hash
				}
			}
			return e
		})},
		{breaks: lawApply, as: "keeps what is not configured any more", told: on(func(c *core, e applyAsked) event {
			e.Specs = slices.Clone(e.Specs)
			for _, i := range c.instances {
				if !slices.ContainsFunc(e.Specs, func(s config.Companion) bool { return s.Name == i.name }) {
					e.Specs = append(e.Specs, *i.spec)
				}
			}
			return e
		})},
		{breaks: lawWaiters, as: "keeps who has got an answer", orders: func(c *core, _ time.Time, e event, orders []action) []action {
			if e, ok := e.(processExited); ok {
				if i := c.current(e.id); i != nil && i.phase == stopped {
					c.waiters = append(c.waiters, &waiter{act: link.Act{Op: opStop}, pending: []*instance{i}})
				}
			}
			return orders
		}},
		{breaks: lawClocks, as: "keeps the deadline of a phase", orders: instances(func(now time.Time, i *instance) {
			if i.phase == running {
				i.deadline = now.Add(time.Hour)
			}
		})},
		{breaks: lawClocks, as: "looks at the clock a second late", told: func(c *core, e event) event {
			for _, i := range c.agenda {
				i.at = i.at.Add(time.Second)
			}
			return e
		}},
		{breaks: lawForEver, as: "waits before a restart for ever", orders: backsOff(func(_ time.Time, i *instance) { i.deadline = time.Time{} })},
		{breaks: lawForEver, as: "waits for the end of a stop for ever", orders: instances(func(_ time.Time, i *instance) {
			if i.phase == stopping {
				i.deadline = time.Time{}
			}
		})},
		{breaks: lawRest, as: "starts with the next fact", later: func(a action) bool { _, ok := a.(startProcess); return ok }},
		{breaks: lawFinal, as: "does not tell the end of an essential companion", orders: messages(func(m link.Message) []action {
			if m.Final != nil {
				return nil
			}
			return []action{send{m}}
		})},
		{breaks: lawFinal, as: "ends all with 0", orders: messages(func(m link.Message) []action {
			if m.Final != nil {
				m.Final = &link.Final{Name: m.Final.Name, Instance: m.Final.Instance}
			}
			return []action{send{m}}
		})},
		{breaks: lawDiagram, as: "goes from EXITED to BACKOFF", orders: instances(func(_ time.Time, i *instance) {
			if i.phase == exited {
				i.phase = backoff
			}
		})},
		{breaks: lawFinish, as: "ends with members left behind", orders: func(c *core, _ time.Time, _ event, orders []action) []action {
			if c.shutdown && !c.finished && !slices.ContainsFunc(c.instances, func(i *instance) bool { return i.leader }) {
				c.finished = true
				return append(orders, finish{})
			}
			return orders
		}},
		{breaks: lawFinish, as: "ends twice", orders: each(twice[finish])},
		{breaks: lawForEver, as: "does not end", orders: each(never[finish])},
	}
}
