package historytest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestADeckHasADeedAsOftenAsItWeighs(t *testing.T) {
	set(t, "rapid.seed", "42")
	did := func(what string) func(*[]string) { return func(all *[]string) { *all = append(*all, what) } }
	deck := NewDeck([]Deed[*[]string]{{3, "often", did("often")}, {0, "never", did("never")}, {1, "once", did("once")}})
	var names []string
	for _, d := range deck {
		names = append(names, d.Name)
	}
	if got := strings.Join(names, ", "); got != "often, often, often, once" {
		t.Errorf("%s", got)
	}
	var all []string
	var c Census
	rapid.Check(t, func(t *rapid.T) {
		s := NewScript(t)
		Play(t, func() { deck.Happen(&all, s, &c) })
	})
	often, once := c.seen["often"], c.seen["once"]
	if often < once || once == 0 || len(c.Missing([]string{"never"})) != 1 || len(all) != often+once {
		t.Errorf("%d deeds, seen:\n%s", len(all), &c)
	}
}

// listener is a test that fails for itself only.
type listener struct {
	rapid.TB
	heard  []string
	failed bool
}

func (l *listener) Logf(format string, args ...any) {
	l.heard = append(l.heard, fmt.Sprintf(format, args...))
}

func (l *listener) Errorf(format string, args ...any) { l.Logf(format, args...); l.failed = true }

func (l *listener) Failed() bool { return l.failed }

func (l *listener) FailNow() {}

func TestATaleIsToldWhenSomebodyReadsIt(t *testing.T) {
	set(t, "rapid.nofailfile", "true")
	set(t, "rapid.seed", "42")
	told, histories := 0, 0
	live := func(most int, hunted bool) func(t *rapid.T) {
		return func(t *rapid.T) {
			histories++
			tale, s, n := NewTale(t, hunted), NewScript(t), 0
			Play(t, func() {
				n += s.Below("number", 3)
				if tale.Read() {
					told++
					tale.Tell(time.Duration(n)*time.Second, fmt.Sprint(n), []string{"one", "two"})
				}
				if n > most {
					tale.Broken("small", "it is %d", n)
				}
			})
		}
	}

	read := &listener{TB: t}
	rapid.Check(read, live(3, false))
	text := strings.Join(read.heard, "\n")
	if !read.failed || !strings.Contains(text, "broken: small:\nit is 4") || !strings.Contains(text, "the history: below") ||
		!strings.Contains(text, "history:\n") || !strings.Contains(text, "4.000s 4 → one, two") {
		t.Errorf("failed %v:\n%s", read.failed, text)
	}
	if told == 0 || told*10 > histories {
		t.Errorf("%d facts were told of %d histories, want those of the last", told, histories)
	}

	told = 0
	keeps := &listener{TB: t}
	rapid.Check(keeps, live(1<<30, false))
	if keeps.failed || told > 0 {
		t.Errorf("failed %v, and %d facts told that nobody reads", keeps.failed, told)
	}

	if after, others := Hunt("small", 100, live(3, true)); after == 0 || len(others) > 0 || told > 0 {
		t.Errorf("after %d histories, %v, and %d facts told", after, others, told)
	}
}
