package arbiter

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/metrics"
	"github.com/gofork/gofork/pkg/proc"
)

func countingLoop(t *testing.T) (l *loop, open func(a id) func(status int)) {
	t.Helper()
	cfg := configOf(1, func(c *config.Config) { c.Admin.Bind = "127.0.0.1:9090" })
	l = newLoop(Options{Config: cfg, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	return l, func(a id) func(int) {
		t.Helper()
		fd, told := l.openTally(startWorker{a, &generation{1, cfg, nil}}, 4)
		closeTally(fd)
		if len(told) != 1 || told[0] != "GOFORK_TALLY_FD=4" {
			t.Fatalf("told %q", told)
		}
		page := l.ledger.pages[a]
		return func(status int) {
			page.Begin()
			if status != 0 {
				page.End(status, 20*time.Millisecond)
			}
		}
	}
}

func TestRequestsAreKeptOverTheDeathOfTheirWorker(t *testing.T) {
	l, open := countingLoop(t)
	if r := l.ledger.requests(); r != nil {
		t.Fatalf("%+v before anybody counts", r)
	}
	first := open(id{1, 1})
	first(200)
	first(500)
	first(0)
	r := l.ledger.requests()
	if r.Answered["2xx"] != 1 || r.Answered["5xx"] != 1 || r.InFlight != 1 || r.Lost != 0 {
		t.Fatalf("%+v", r)
	}
	l.settle(id{1, 1}, proc.Exit{CPU: time.Second})
	second := open(id{1, 2})
	second(200)
	second(0)
	second(0)
	r = l.ledger.requests()
	if r.Answered["2xx"] != 2 || r.InFlight != 2 || r.Lost != 1 {
		t.Errorf("%+v, want the first one's counts, and its open request lost", r)
	}
	if want := 3 * 0.02; r.Latency.Sum < want-1e-9 || r.Latency.Sum > want+1e-9 || r.Latency.Buckets[2] != 3 || r.Latency.Bounds[2] != 0.025 {
		t.Errorf("latency %+v", r.Latency)
	}
	l.settle(id{1, 2}, proc.Exit{CPU: time.Second})
	if r = l.ledger.requests(); r.InFlight != 0 || r.Lost != 3 {
		t.Errorf("%+v when all are dead", r)
	}
	if l.ledger.cpu[1] != 2*time.Second {
		t.Errorf("CPU time %v, want both workers'", l.ledger.cpu[1])
	}
	l.settle(id{1, 3}, proc.Exit{}) // one that never counted
}

func TestNobodyCountsWithoutAnAdminAddress(t *testing.T) {
	l, _ := countingLoop(t)
	fd, told := l.openTally(startWorker{id{1, 1}, &generation{1, configOf(1), nil}}, 4)
	if fd >= 0 || told != nil || len(l.ledger.pages) != 0 {
		t.Errorf("descriptor %d, told %q", fd, told)
	}
}

func TestGroupWithoutItsProcessHasNoCPUTime(t *testing.T) {
	g := group{Process: metrics.Process{Role: "worker", Slot: 1}, pids: []int{1 << 29}, used: time.Second}
	if p := g.measure(); !p.NoCPU {
		t.Errorf("%+v: the counter would fall", p)
	}
	g.pids = nil
	if p := g.measure(); p.NoCPU || p.CPU != time.Second {
		t.Errorf("%+v, want what the dead have used", p)
	}
}
