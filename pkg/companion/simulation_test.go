package companion

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/gofork/gofork/pkg/historytest"
)

// volume is how many steps the core makes in generated histories each time the
// tests run. With the arbiter's there are a million and more.
const volume = 500_000

// pairs are the changes of phase that the diagram of doc.go allows.
func pairs(t *testing.T) map[[2]phase]bool {
	pairs := map[[2]phase]bool{{starting, starting}: true}
	for _, a := range arrows(t) {
		pairs[[2]phase{a.from, a.to}] = true
	}
	return pairs
}

// Generated lives of a manager, from its first apply to its end. See [law] for what
// holds in them, and world for what can happen.
func TestTheLawHoldsWhateverHappens(t *testing.T) {
	var census historytest.Census
	arrows := pairs(t)
	historytest.Volume(t, volume, &census, func(t *rapid.T) {
		newWorld(t, historytest.NewScript(t), &census, arrows, nil).play()
	})
	if missing := census.Missing(happenings()); len(missing) > 0 && census.Steps >= volume {
		t.Errorf("in so many steps this has never happened: %q", missing)
	}
}

// happenings are what has to be among the generated lives, or they prove less than
// they seem to.
func happenings() []string {
	all := []string{
		"a second manager", "an order that has become void", "a process cannot be started", "a shutdown that was under way at the end",
		"an apply that leaves alone what is up", "an apply that restarts what is up", "an essential companion ends for good", "an instance is killed", "members outlive their leader",
	}
	for _, d := range deeds() {
		all = append(all, d.Name)
	}
	for _, p := range []phase{stopped, starting, running, backoff, stopping, exited, fatal} {
		all = append(all, "it is "+string(p))
	}
	return all
}

// A shutdown is asked for behind every fact of generated lives: from each there is a
// way to the end.
func TestAShutdownAtEveryPointOfALife(t *testing.T) {
	var census historytest.Census
	arrows := pairs(t)
	stops := 0
	rapid.Check(t, func(t *rapid.T) {
		stops += historytest.AtEveryPoint(t, func(script *historytest.Script, stopAt int, quick bool) *world {
			w := newWorld(t, script, &census, arrows, nil)
			w.stopAt, w.stopQuick = stopAt, quick
			w.applySome()
			return w
		}, (*world).next, (*world).end, func(w *world) []int { return w.points })
	})
	t.Logf("%d stops, %d steps", stops, census.Steps)
}
