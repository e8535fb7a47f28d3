package historytest

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func choices(s *Script, n int) (made []int) {
	for range n {
		made = append(made, s.Below("choice", 100))
	}
	return made
}

func TestABeginningIsPlayedAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewScript(t)
		first := choices(s, 20)
		if s.Length() != 20 {
			t.Fatalf("length %d", s.Length())
		}
		again := s.Again(7)
		if got := choices(again, 7); !slices.Equal(got, first[:7]) {
			t.Fatalf("%v, want %v", got, first[:7])
		}
		choices(again, 3) // drawn, and nothing of the first is changed
		if got := choices(s.Again(20), 20); !slices.Equal(got, first) {
			t.Fatalf("%v, want %v", got, first)
		}
	})
}

func TestVolumeHasItsStepsAndItsSeed(t *testing.T) {
	t.Setenv(envSteps, "")
	var first []int
	for round := range 2 {
		set(t, "rapid.seed", "42")
		var c Census
		var all []int
		Volume(t, 30_000, &c, func(t *rapid.T) {
			s := NewScript(t)
			Play(t, func() {
				c.Steps++
				all = append(all, s.Below("choice", 1000))
			})
			c.Saw("a history")
		})
		if want := 30_000; !testing.Short() && c.Steps < want {
			t.Errorf("%d steps, want %d", c.Steps, want)
		}
		if c.seen["a history"] != c.Histories || len(c.Missing([]string{"a history", "another"})) != 1 || !strings.Contains(c.String(), "a history") {
			t.Errorf("%d histories, %v", c.Histories, c.seen)
		}
		if round == 1 && !slices.Equal(all, first) {
			t.Error("the same seed gives other histories")
		}
		first = all
	}
}

func TestAHuntEndsWithTheLaw(t *testing.T) {
	play := func(t *rapid.T) {
		s := NewScript(t)
		Play(t, func() {
			switch s.Below("choice", 100) {
			case 57:
				panic(Breach{Law: "rare"})
			case 3, 4, 5, 6:
				panic(Breach{Law: "frequent"})
			}
		})
	}
	after, others := Hunt("rare", 1000, play)
	if after == 0 || others["frequent"] == 0 {
		t.Errorf("after %d histories, %v", after, others)
	}
	if again, _ := Hunt("rare", 1000, play); again != after {
		t.Errorf("after %d histories, then after %d", after, again)
	}
	if after, _ := Hunt("never", 100, play); after != 0 {
		t.Errorf("after %d histories", after)
	}
}
