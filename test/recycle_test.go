//go:build linux

package test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// recyclings checks what the log tells of a pool that was recycled: each time the
// new worker was ready before the old one had to go, and never two slots at once.
func (s *server) recyclings(reason string) {
	s.t.Helper()
	underWay := 0 // slot
	readied := false
	for _, r := range s.journal.all(either("worker.recycled", "worker.ready", "worker.draining", "worker.exited")) {
		slot := r.text("slot")
		switch r.Event {
		case "worker.recycled":
			if underWay != 0 {
				s.t.Errorf("slot %d is still being replaced: %v", underWay, r)
			}
			if r.text("reason") != reason {
				s.t.Errorf("want the reason %s, got %v", reason, r)
			}
			if _, err := fmt.Sscan(slot, &underWay); err != nil {
				s.t.Error(err)
			}
			readied = false
		case "worker.ready":
			readied = readied || fmt.Sprint(underWay) == slot
		case "worker.draining":
			if r.text("cause") == "shutdown" {
				return
			}
			if fmt.Sprint(underWay) != slot || !readied {
				s.t.Errorf("an old worker was asked to end before the new one was ready: %v", r)
			}
		case "worker.exited":
			if r.text("expected") != "true" || fmt.Sprint(underWay) != slot {
				s.t.Errorf("want the expected end of a recycled worker, got %v", r)
			}
			underWay = 0
		}
	}
}

func (s *server) awaitRecyclings(n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d workers were recycled", n), func() bool {
		return len(s.journal.all(is("worker.exited", "expected", true))) >= n
	})
}

func TestMaxRequestsReplacesOneSlotAtATime(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
handler = "hello"
count = 3
drain_delay = "500ms"
max_requests = 10
max_requests_jitter = 5
`)
	before := workerPIDs(s.ready())
	gone := func() bool {
		for _, pid := range workerPIDs(s.look()) {
			for _, old := range before {
				if pid == old {
					return false
				}
			}
		}
		return true
	}
	eventually(t, "every first worker was replaced", func() bool {
		for range 10 {
			if a := s.get("/"); a.err != nil || a.code != http.StatusOK {
				t.Errorf("a request got %d, %v", a.code, a.err)
			}
		}
		return gone() || t.Failed()
	})
	s.awaitRecyclings(3)
	s.recyclings("max_requests")
}

func TestMaxLifetimeReplacesOneSlotAtATime(t *testing.T) {
	t.Parallel()
	s := start(t, httpWorkers(3, `max_lifetime = "400ms"`))
	s.ready()
	s.awaitRecyclings(5)
	s.stop(patience)
	s.recyclings("max_lifetime")
}

func TestMaxMemoryReplacesTheWorkerThatGrew(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
command = ["@TEST", "grow", "@DIR/grown", "300"]
count = 2
ready = "notify"
max_memory = "250MiB"
`)
	s.ready()
	s.awaitRecyclings(1)
	s.recyclings("max_memory")
	s.mustGet("/pid")
	if n := len(s.journal.all(is("worker.recycled"))); n != 1 {
		t.Errorf("%d workers were recycled, want the one that grew", n)
	}
}

// A replacement that cannot boot costs nothing but the replacement.
func TestRecyclingThatFailsKeepsTheOldWorker(t *testing.T) {
	t.Parallel()
	s := start(t, appWorkers(1, `max_lifetime = "1s"`))
	old := workerPIDs(s.ready())[0]
	writeFile(t, s.path("app"), "exit 9")
	r := s.await("worker.backoff")
	if r.Level != "WARN" || !strings.Contains(r.Msg, "cannot replace") {
		t.Errorf("want a warning that the worker cannot be replaced, got %v", r)
	}
	if pid := s.mustGet("/pid"); pid != fmt.Sprint(old) {
		t.Errorf("pid %s answers, want %d", pid, old)
	}
	writeFile(t, s.path("app"), "good")
	s.awaitStatus("it was replaced after all", func(st control.Status) bool {
		return st.Workers.Ready == 1 && len(st.Workers.List) == 1 && workerPIDs(st)[0] != old
	})
}
