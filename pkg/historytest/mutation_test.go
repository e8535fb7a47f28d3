package historytest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sum is a core that is told numbers and orders their sum; an even one it orders as text.
type sum struct{ n int }

func (s *sum) step(_ time.Time, e any) []any {
	s.n += e.(int)
	if s.n%2 == 0 {
		return []any{"even"}
	}
	return []any{s.n}
}

type wrongSum = Mutation[*sum, any, any]

func TestAMutationMakesACoreWrong(t *testing.T) {
	told := []int{1, 2, 1, 3}
	for _, tt := range []struct {
		as    string
		wrong *wrongSum
		want  string
	}{
		{"as it is", nil, "[[1] [3] [even] [7]]"},
		{"nothing is wrong", &wrongSum{}, "[[1] [3] [even] [7]]"},
		{"hears one more", &wrongSum{Told: On(func(_ *sum, n int) any { return n + 1 })}, "[[even] [5] [7] [11]]"},
		{"knows one more", &wrongSum{Told: On(func(s *sum, n int) any { s.n++; return n })}, "[[even] [5] [7] [11]]"},
		{"hears another kind", &wrongSum{Told: On(func(*sum, string) any { panic("it is no text") })}, "[[1] [3] [even] [7]]"},
		{"orders twice", &wrongSum{Orders: Each[*sum, any](func(n int) []any { return []any{n, n} })}, "[[1 1] [3 3] [even] [7 7]]"},
		{"orders nothing", &wrongSum{Orders: Each[*sum, any](func(string) []any { return nil })}, "[[1] [3] [] [7]]"},
		{"orders late", &wrongSum{Later: func(a any) bool { return a == 3 || a == "even" }}, "[[1] [] [3] [even 7]]"},
		{"orders more, and late", &wrongSum{
			Orders: func(_ *sum, _ time.Time, e any, orders []any) []any { return append(orders, -e.(int)) },
			Later:  func(a any) bool { return a == -1 },
		}, "[[1] [-1 3 -2] [even] [-1 7 -3]]"},
	} {
		t.Run(tt.as, func(t *testing.T) {
			stood, want := 0, 0
			if tt.wrong != nil && tt.wrong.Orders != nil {
				want = len(told)
			}
			var orders [][]any
			for c := new(sum); len(orders) < len(told); {
				orders = append(orders, tt.wrong.Step((*sum).step, func(*sum, []any) { stood++ }, c, time.Time{}, told[len(orders)]))
			}
			if got := fmt.Sprint(orders); got != tt.want || stood != want {
				t.Errorf("%s, want %s; stands %d times by what is altered, want %d", got, tt.want, stood, want)
			}
		})
	}
}

// adds plays a sum whose only law is that it grows.
func adds(t *rapid.T, wrong *wrongSum) {
	s, c, last := NewScript(t), &sum{}, 0
	Play(t, func() {
		for _, o := range wrong.Step((*sum).step, nil, c, time.Time{}, 1+s.Below("number", 9)) {
			if n, ok := o.(int); ok {
				if n <= last {
					panic(Breach{Law: "grows"})
				}
				last = n
			}
		}
	})
}

func TestAllMutationsAreHunted(t *testing.T) {
	falls := wrongSum{Breaks: "grows", As: "falls", Told: On(func(_ *sum, n int) any { return -n })}
	HuntAll(t, []Law{"grows"}, []wrongSum{falls}, adds)

	if after, err := falls.hunt(adds); after == 0 || err != nil {
		t.Errorf("after %d histories: %v", after, err)
	}
	keeps := wrongSum{Breaks: "is even", As: "nothing is wrong with its law", Told: falls.Told}
	if after, err := keeps.hunt(adds); after != 0 || err == nil || !strings.Contains(err.Error(), "is even\nothers were broken: map[grows:") {
		t.Errorf("after %d histories: %v", after, err)
	}
	if got := untried([]Law{"grows", "is even", "ends"}, []wrongSum{falls, keeps}); !slices.Equal(got, []Law{"ends"}) {
		t.Errorf("%q", got)
	}
}

// A mutation that keeps orders begins each history without those of the one before.
func TestEveryHistoryHasAMutationOfItsOwn(t *testing.T) {
	late := wrongSum{Breaks: "none", Later: func(any) bool { return true }}
	_, _ = late.hunt(func(one *rapid.T, wrong *wrongSum) {
		NewScript(one).Below("something", 2) // rapid wants a draw
		if len(wrong.kept) > 0 {
			t.Errorf("an order of another history: %v", wrong.kept)
		}
		wrong.Step((*sum).step, nil, &sum{}, time.Time{}, 1)
	})
	if late.kept != nil {
		t.Errorf("kept %v", late.kept)
	}
}

func TestHalfOfWhatIsLeft(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, tt := range []struct{ at, want time.Time }{
		{now.Add(time.Minute), now.Add(30 * time.Second)},
		{now, now},
		{now.Add(-time.Minute), now.Add(-time.Minute)},
		{},
	} {
		got := tt.at
		if Half(&got, now); !got.Equal(tt.want) {
			t.Errorf("%v, want %v", got, tt.want)
		}
	}
}
