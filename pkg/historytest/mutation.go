package historytest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// enough histories for a law to catch what breaks it: one that needs more would hardly
// be broken in a volume either.
const enough = 3000

// Mutation makes a core C wrong in one way: by what it is told, by what it remembers,
// or by what it orders. A judge sees the fact E as it was and the order A as it became.
type Mutation[C, E, A any] struct {
	Breaks Law
	As     string // what the core does instead
	// Told alters a fact, or what the core knows, before it takes the fact in.
	Told func(c C, e E) E
	// Orders alters what the core remembers and orders after that.
	Orders func(c C, now time.Time, e E, orders []A) []A
	// Later keeps an order back until the next fact.
	Later func(a A) bool
	kept  []A
}

// Step is the core's own step, made wrong; without a mutation it is as it is. What
// Orders has altered the core is made to stand by, if it takes more than that.
func (m *Mutation[C, E, A]) Step(step func(C, time.Time, E) []A, stands func(C, []A), c C, now time.Time, e E) []A {
	if m == nil {
		return step(c, now, e)
	}
	if m.Told != nil {
		e = m.Told(c, e)
	}
	orders := step(c, now, e)
	if m.Orders != nil {
		orders = m.Orders(c, now, e, orders)
		if stands != nil {
			stands(c, orders)
		}
	}
	if m.Later != nil {
		var kept []A
		for _, a := range orders {
			if m.Later(a) {
				kept = append(kept, a)
			}
		}
		orders = append(m.kept, slices.DeleteFunc(orders, m.Later)...)
		m.kept = kept
	}
	return orders
}

// HuntAll fails for each mutation that its law does not catch, and for each law that
// catches none.
func HuntAll[C, E, A any](t *testing.T, laws []Law, mutations []Mutation[C, E, A], play func(t *rapid.T, wrong *Mutation[C, E, A])) {
	t.Helper()
	for _, m := range mutations {
		t.Run(m.As, func(t *testing.T) {
			after, err := m.hunt(play)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("caught by the %d. history: %s", after, m.Breaks)
		})
	}
	for _, law := range untried(laws, mutations) {
		t.Errorf("nothing is known to break this law: %s", law)
	}
}

// hunt has a mutation of its own for every history: it keeps orders.
func (m Mutation[C, E, A]) hunt(play func(*rapid.T, *Mutation[C, E, A])) (after int, err error) {
	after, others := Hunt(m.Breaks, enough, func(t *rapid.T) {
		wrong := m
		play(t, &wrong)
	})
	if after == 0 {
		return 0, fmt.Errorf("no history shows that it is not so: %s\nothers were broken: %v", m.Breaks, others)
	}
	return after, nil
}

// untried are the laws that no mutation breaks.
func untried[C, E, A any](laws []Law, mutations []Mutation[C, E, A]) []Law {
	return slices.DeleteFunc(slices.Clone(laws), func(law Law) bool {
		return slices.ContainsFunc(mutations, func(m Mutation[C, E, A]) bool { return m.Breaks == law })
	})
}

// Each alters the orders of a kind.
func Each[C, E, A, Kind any](change func(Kind) []A) func(C, time.Time, E, []A) []A {
	return func(_ C, _ time.Time, _ E, orders []A) (changed []A) {
		for _, o := range orders {
			if a, ok := any(o).(Kind); ok {
				changed = append(changed, change(a)...)
			} else {
				changed = append(changed, o)
			}
		}
		return changed
	}
}

// On alters what a core is told, or knows, when it is told a fact of a kind.
func On[C, E, Kind any](change func(C, Kind) E) func(C, E) E {
	return func(c C, e E) E {
		if e, ok := any(e).(Kind); ok {
			return change(c, e)
		}
		return e
	}
}

// Half leaves half of the time until then.
func Half(at *time.Time, now time.Time) {
	if at.After(now) {
		*at = now.Add(at.Sub(now) / 2)
	}
}
