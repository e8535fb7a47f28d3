package historytest

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// walk is a life whose facts are the choices that it makes, some of them two at once.
type walk struct {
	script  *Script
	choices []int
	points  []int
	stopAt  int
	quick   bool
	stopped bool
}

func (w *walk) next() {
	for range 1 + w.script.Below("facts", 2) {
		if w.stopped {
			return
		}
		w.choices = append(w.choices, w.script.Below("choice", 100))
		w.points = append(w.points, w.script.Length())
		w.stopped = len(w.points) == w.stopAt
	}
}

func TestALifeIsStoppedAtEachOfItsPoints(t *testing.T) {
	set(t, "rapid.seed", "42")
	all := 0
	rapid.Check(t, func(t *rapid.T) {
		var lives []*walk
		ends := 0
		stops := AtEveryPoint(t, func(s *Script, stopAt int, quick bool) *walk {
			w := &walk{script: s, stopAt: stopAt, quick: quick}
			lives = append(lives, w)
			return w
		}, (*walk).next, func(*walk) { ends++ }, func(w *walk) []int { return w.points })
		life := lives[0]
		if stops != 2*len(life.points) || ends != stops || len(lives) != stops+1 {
			t.Fatalf("%d stops, %d ends and %d lives for %d facts", stops, ends, len(lives), len(life.points))
		}
		for i, w := range lives[1:] {
			if n := i/2 + 1; w.stopAt != n || !w.stopped || w.quick != (i%2 == 1) || len(w.choices) != n || w.choices[n-1] != life.choices[n-1] {
				t.Fatalf("life %d was stopped at %d (quick %v) after %v, want %v", i, w.stopAt, w.quick, w.choices, life.choices)
			}
		}
		all += stops
	})
	if all == 0 {
		t.Error("nothing was stopped")
	}
}

func TestALifeThatIsNotTheSameAgainIsFound(t *testing.T) {
	set(t, "rapid.nofailfile", "true")
	set(t, "rapid.seed", "42")
	heard := &listener{TB: t}
	rapid.Check(heard, func(t *rapid.T) {
		begun := 0
		AtEveryPoint(t, func(s *Script, stopAt int, _ bool) *walk {
			if begun++; begun > 1 { // it remembers the one before
				s.Below("something else", 2)
			}
			return &walk{script: s, stopAt: stopAt}
		}, (*walk).next, func(*walk) {}, func(w *walk) []int { return w.points })
	})
	if text := strings.Join(heard.heard, "\n"); !heard.failed || !strings.Contains(text, "the same choices give another history") {
		t.Errorf("failed %v:\n%s", heard.failed, text)
	}
}
