package arbiter

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/gofork/gofork/pkg/historytest"
)

// volume is how many steps the core makes in generated histories each time the
// tests run. With the companion manager's there are a million and more.
const volume = 700_000

// Generated lives of an arbiter, from its first fact to its end. See [law] for what
// holds in them, and world for what can happen.
func TestTheLawHoldsWhateverHappens(t *testing.T) {
	var census historytest.Census
	historytest.Volume(t, volume, &census, func(t *rapid.T) {
		newWorld(t, historytest.NewScript(t), &census, nil).play()
	})
	if missing := census.Missing(happenings()); len(missing) > 0 && census.Steps >= volume {
		t.Errorf("in so many steps this has never happened: %q", missing)
	}
}

// happenings are what has to be among the generated lives, or they prove less than
// they seem to.
func happenings() []string {
	all := []string{
		"a fact between two orders", "a worker cannot be started", "a manager cannot be started", "the manager dies", "the manager hangs", "a manager waits for that of a killed gofork",
		"a companion that nobody had reported", "an essential companion ends", "silence that does not count", "a worker is killed",
		"a slot that fails again and again", "a slot goes over to the next generation", "a bad file", "a reload that takes all back", "workers are parked",
		"is an upgrade of an older arbiter", "an upgrade is promoted", "a younger arbiter cannot be started",
		"the younger arbiter is ready", "the younger arbiter ends", "a stop that was under way at the end",
	}
	for _, d := range deeds() {
		all = append(all, d.Name)
	}
	for _, event := range []string{
		"server.ready", "server.stopping", "worker.timeout", "worker.draining", "worker.killed", "worker.recycled", "worker.backoff",
		"workers.scaled", "manager.ready", "manager.backoff", "manager.killed", "companion.stopping", "companion.killed",
		"reload.done", "reload.failed", "upgrade.started", "upgrade.failed", "upgrade.promoted",
	} {
		all = append(all, "record "+event)
	}
	return all
}

// A stop is asked for behind every fact of generated lives: from each there is a way
// to the end.
func TestAStopAtEveryPointOfALife(t *testing.T) {
	var census historytest.Census
	stops := 0
	rapid.Check(t, func(t *rapid.T) {
		stops += historytest.AtEveryPoint(t, func(script *historytest.Script, stopAt int, quick bool) *world {
			w := newWorld(t, script, &census, nil)
			w.stopAt, w.stopQuick = stopAt, quick
			w.step(began{})
			return w
		}, (*world).next, (*world).end, func(w *world) []int { return w.points })
	})
	t.Logf("%d stops, %d steps", stops, census.Steps)
}
