//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// story is what the events tell: who lives. It begins again with each snapshot,
// because the stream ends with its arbiter.
type story struct {
	r      *run
	cancel context.CancelFunc
	ended  chan struct{}

	mu         sync.Mutex
	workers    map[int]bool // pids
	companions map[int]string
	manager    int
	seq        uint64
	snapshots  int
	events     int
}

func (r *run) listen() *story {
	ctx, cancel := context.WithCancel(context.Background())
	s := &story{r: r, cancel: cancel, ended: make(chan struct{})}
	client := control.Dial(r.sock)
	go func() {
		defer close(s.ended)
		defer client.Close()
		for ctx.Err() == nil {
			snapshot, events, err := client.Events(ctx)
			if err != nil {
				pause(20 * time.Millisecond)
				continue
			}
			s.begin(snapshot)
			for e := range events {
				s.hear(e)
			}
		}
	}()
	return s
}

func (s *story) close() {
	s.cancel()
	<-s.ended
}

func (s *story) begin(st *control.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots++
	s.seq = 0
	s.workers, s.companions, s.manager = living(st)
}

// living are the processes that a status shows.
func living(st *control.Status) (workers map[int]bool, companions map[int]string, manager int) {
	workers, companions = map[int]bool{}, map[int]string{}
	for _, w := range st.Workers.List {
		if w.PID != 0 {
			workers[w.PID] = true
		}
	}
	for _, c := range st.Companions {
		if c.PID != 0 {
			companions[c.PID] = c.ID()
		}
	}
	if st.Manager != nil {
		manager = st.Manager.PID
	}
	return workers, companions, manager
}

func (s *story) hear(e control.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events++
	if s.seq != 0 && e.Seq != s.seq+1 {
		s.r.fault("an event was lost: %d follows %d", e.Seq, s.seq)
	}
	s.seq = e.Seq
	pid := number(e.Attrs["pid"])
	switch e.Event {
	case "worker.started":
		s.workers[pid] = true
	case "worker.exited":
		delete(s.workers, pid)
	case "manager.started":
		s.manager = pid
	case "manager.exited":
		s.manager = 0
	case "companion.started":
		s.companions[pid] = control.InstanceID(fmt.Sprint(e.Attrs["companion"]), number(e.Attrs["instance"]))
	case "companion.exited":
		delete(s.companions, pid)
	}
}

func number(v any) int {
	switch n := v.(type) {
	case float64:
		return int(n)
	case json.Number:
		i, err := n.Int64()
		if err != nil {
			return 0
		}
		return int(i)
	}
	return 0
}

// differs says how the events tell something else than a status.
func (s *story) differs(st *control.Status) string {
	workers, companions, manager := living(st)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !maps.Equal(workers, s.workers):
		return fmt.Sprintf("workers are %v in the status and %v in the events", workers, s.workers)
	case manager != s.manager:
		return fmt.Sprintf("the manager is %d in the status and %d in the events", manager, s.manager)
	}
	// restless comes and goes while one asks.
	for _, m := range []map[int]string{companions, s.companions} {
		maps.DeleteFunc(m, func(_ int, id string) bool { return id == "restless" })
	}
	if !maps.Equal(companions, s.companions) {
		return fmt.Sprintf("companions are %v in the status and %v in the events", companions, s.companions)
	}
	return ""
}
