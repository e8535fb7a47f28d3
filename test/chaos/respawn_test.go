//go:build linux

package chaos

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// Thousands of processes later both supervisors are as they were. The companions
// end all the time and are started at once, so gofork is never quiet; workers are
// replaced by one reload after the other, under load.
func TestNothingGrowsWithTheNumberOfRespawns(t *testing.T) {
	want := 1000
	if thorough() {
		want = 10_000
	}
	r := newRun(t, seed(t))
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	clients := r.arrive(ctx, 4)

	c := baseConfig()
	c.workers = 6
	c.more = "[companion.churn]\ncommand = [\"sleep\", \"0.02\"]\nnumprocs = 4\nbackoff_initial = 0\nstartsecs = 0"
	growth := map[string]*growth{"arbiter": {}, "manager": {}}
	begun := time.Now()
	workers, companions := r.history.count("worker.started"), r.history.count("companion.started")
	for !r.failed() {
		c.version++
		r.write(c)
		if res, err := r.reload(); err != nil || !res.OK {
			t.Fatalf("a reload failed: %+v, %v", res, err)
		}
		done := r.history.count("worker.started") - workers + r.history.count("companion.started") - companions
		if time.Since(begun) > settled {
			for role, pid := range map[string]int{"arbiter": r.master(), "manager": r.aManager()} {
				growth[role].look(r, role, pid, float64(done)/float64(want))
			}
		}
		if done >= want && time.Since(begun) > 2*settled {
			break
		}
	}
	r.sameStarts()
	leave()
	clients.wg.Wait()
	t.Logf("%d workers and %d companions in %s, %d requests; arbiter: %s; manager: %s",
		r.history.count("worker.started")-workers, r.history.count("companion.started")-companions,
		time.Since(begun).Round(time.Second), clients.requests.Load(), growth["arbiter"], growth["manager"])
	if _, err := r.quiet(baseConfig()); err != nil {
		r.fault("%v", err)
	}
	if !r.failed() {
		r.finish()
	}
}

// growth is what a supervisor had at most in the first looks, and since.
type growth struct {
	looks       int
	first, last maxima
}

type maxima struct {
	open, threads int
	own           int64 // heap and stacks
}

// firstLooks is how many looks say what is usual.
const firstLooks = 10

func (g *growth) String() string {
	return fmt.Sprintf("at most %d descriptors, %d threads, %d KiB in the first %d looks, %d, %d, %d in the %d after them",
		g.first.open, g.first.threads, g.first.own>>10, firstLooks, g.last.open, g.last.threads, g.last.own>>10, g.looks-firstLooks)
}

func (g *growth) look(r *run, role string, pid int, done float64) {
	res, err := resourcesOf(pid)
	if err != nil {
		r.fault("%s %d: %v", role, pid, err)
		return
	}
	m := &g.last
	if g.looks++; g.looks <= firstLooks {
		m = &g.first
	}
	m.open, m.threads, m.own = max(m.open, len(res.open)), max(m.threads, res.threads), max(m.own, res.own)
	r.history.add("%s %d: %d descriptors, %d threads, %d KiB of its own", role, pid, len(res.open), res.threads, res.own>>10)
	switch {
	case g.last.open > g.first.open+fewDescriptors:
		r.fault("%s: more descriptors after %.0f %% of the respawns: %v; now\n%s", role, 100*done, g, strings.Join(res.open, "\n"))
	case g.last.threads > g.first.threads+fewThreads:
		r.fault("%s: more threads after %.0f %% of the respawns: %v", role, 100*done, g)
	case g.last.own > g.first.own+littleMemory():
		r.fault("%s: more memory after %.0f %% of the respawns: %v", role, 100*done, g)
	}
}

// littleMemory is what the heap of a busy supervisor may be larger at one look
// than at another.
func littleMemory() int64 {
	if raceEnabled {
		return 24 << 20
	}
	return 3 << 20
}

// sameStarts stops what churns and holds the numbers of the status against those
// of the log.
func (r *run) sameStarts() {
	ctx, cancel := ask()
	defer cancel()
	if _, err := r.control.Act(ctx, control.Action{Op: control.OpStop, Name: "churn", Wait: true}); err != nil {
		r.fault("cannot stop what churns: %v", err)
		return
	}
	st, err := r.status()
	if err != nil {
		r.fault("no status: %v", err)
		return
	}
	starts, exits := 0, 0
	for _, one := range st.Companions {
		if one.Name == "churn" {
			starts, exits = starts+1+one.Restarts, exits+one.Exits
		}
	}
	told := func(event string) int { return r.history.count(event + " churn") }
	r.within(5*time.Second, "the log tells of as many starts and exits as the status counts", func() bool { // it is read beside
		return told("companion.started") == starts && told("companion.exited") == exits
	})
	if starts == 0 || starts != exits {
		r.fault("%d starts and %d exits of what is stopped", starts, exits)
	}
}
