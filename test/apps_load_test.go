//go:build linux

package test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// reloads is how often a server of somebody else's is reloaded under load.
const reloads = 2

// reloadUnderLoad replaces the workers again and again while clients ask. A
// server that drains may not fail a single request.
func (s *server) reloadUnderLoad(a app) {
	s.t.Helper()
	u := &under{server: s}
	u.enter("nothing in particular")
	l := &load{
		addr: s.addr, phase: u.phase,
		requests: map[string]int{}, worst: map[string]time.Duration{}, worstIn: map[string]string{},
	}
	crowd := map[string]int{keeping: 12, arriving: 6}
	if a.echoes {
		crowd[slow] = 2
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	began := time.Now()
	var clients sync.WaitGroup
	for kind, n := range crowd {
		for range n {
			clients.Go(func() { (&client{load: l, kind: kind}).run(ctx) })
		}
	}
	for range reloads {
		already := l.total()
		eventually(s.t, "the load has begun", func() bool { return l.total() >= already+60 })
		old := s.look()
		u.good()
		u.enter("the drain after a reload")
		for _, pid := range workerPIDs(old) {
			r := s.await("worker.exited", "pid", pid, "expected", true)
			if r.text("signal") == "SIGKILL" && !a.crosses {
				s.t.Errorf("an old worker was still there after graceful_timeout: %v", r)
			}
		}
	}
	if a.notifies {
		before := fmt.Sprint(workerPIDs(s.look()))
		u.spoilt("an application that does not load", a.spoilt[0], a.spoilt[1])
		s.awaitStatus("the workers are again those before the refused reload", func(st control.Status) bool {
			return fmt.Sprint(workerPIDs(st)) == before
		})
	}
	u.enter("the end")
	cancel()
	clients.Wait()
	if a.crosses {
		l.tolerate(s.t)
	}
	l.report(s.t, time.Since(began))
}

// total is how many requests have ended so far.
func (l *load) total() (sum int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.requests {
		sum += n
	}
	return sum
}

// tolerate takes the failures out that a server cannot avoid when it closes
// connections without a word: no byte of an answer came. Any other failure, such
// as a refused connection, a status or half an answer, stays one.
func (l *load) tolerate(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var rest []string
	fresh := 0
	for _, f := range l.failures {
		_, how, _ := strings.Cut(f, " bytes sent, ")
		if !strings.Contains(how, ": write: ") && !strings.Contains(how, ": read: ") {
			rest = append(rest, f)
			continue
		}
		if strings.HasPrefix(how, "request 1 of") {
			fresh++
		}
	}
	t.Logf("%d requests met a connection that was closed; %d of these connections were new", len(l.failures)-len(rest), fresh)
	l.failures = rest
}
