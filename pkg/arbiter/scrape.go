package arbiter

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/metrics"
	"github.com/gofork/gofork/pkg/proc"
)

// metricsHandler answers GET /metrics, on the control socket and on the admin
// address.
func (l *loop) metricsHandler(b *backend) http.Handler {
	return metrics.Handler(l.counters, b.picture)
}

// group is the processes that have one name in the metrics.
type group struct {
	metrics.Process
	pids []int
	used time.Duration // by those that have ended
}

// picture is everything that there is to measure. The loop tells what it knows; to
// ask /proc about each process takes longer and is done outside.
func (b *backend) picture(ctx context.Context) (*metrics.Picture, error) {
	type gathered struct {
		picture *metrics.Picture
		groups  []group
	}
	answer := make(chan gathered, 1)
	err := b.put(ctx, request{run: func(l *loop) {
		p, g := l.gather(time.Now())
		answer <- gathered{p, g}
	}})
	if err != nil {
		return nil, err
	}
	select {
	case g := <-answer:
		for i := range g.groups {
			g.picture.Processes = append(g.picture.Processes, g.groups[i].measure())
		}
		return g.picture, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.ended:
		return nil, errEnded
	}
}

func (g *group) measure() metrics.Process {
	p := g.Process
	p.CPU = g.used
	for _, pid := range g.pids {
		u, err := proc.UsageOf(pid)
		if err != nil {
			p.NoCPU = true
			continue
		}
		p.RSS += u.RSS
		p.CPU += u.CPU
	}
	return p
}

// gather is the loop's part of a picture.
func (l *loop) gather(now time.Time) (*metrics.Picture, []group) {
	s := l.core.status(now)
	s.Version, s.PID = l.Version, l.PID
	p := &metrics.Picture{Status: s, Beats: l.core.beats(now), Queues: l.queues(), Requests: l.ledger.requests()}
	groups := []group{{Process: metrics.Process{Role: "arbiter"}, pids: []int{l.PID}}}
	groups = append(groups, l.workerGroups(s.Workers.List)...)
	if s.Manager != nil && s.Manager.PID != 0 {
		groups = append(groups, group{Process: metrics.Process{Role: "manager"}, pids: []int{s.Manager.PID}})
	}
	for _, i := range s.Companions {
		if i.PID != 0 {
			groups = append(groups, group{Process: metrics.Process{Role: "companion", Name: i.Name, Instance: i.Instance}, pids: []int{i.PID}})
		}
	}
	return p, groups
}

// workerGroups are the slots that have, or had, a worker, in order.
func (l *loop) workerGroups(list []control.Worker) []group {
	bySlot := map[int]*group{}
	at := func(slot int) *group {
		if bySlot[slot] == nil {
			bySlot[slot] = &group{Process: metrics.Process{Role: "worker", Slot: slot}, used: l.ledger.cpu[slot]}
		}
		return bySlot[slot]
	}
	for slot := range l.ledger.cpu {
		at(slot)
	}
	for _, w := range list {
		// A leader that has ended may have left its group behind: it is in used.
		if pid, living := l.pids[id{w.Slot, w.Attempt}]; living && l.core.leads(id{w.Slot, w.Attempt}) {
			g := at(w.Slot)
			g.pids = append(g.pids, pid)
		}
	}
	var groups []group
	for _, slot := range slices.Sorted(maps.Keys(bySlot)) {
		groups = append(groups, *bySlot[slot])
	}
	return groups
}

func (c *core) leads(a id) bool {
	w := c.find(a)
	return w != nil && w.leader
}

// beats are the ages of the heartbeats of the workers that serve.
func (c *core) beats(now time.Time) []metrics.Beat {
	var beats []metrics.Beat
	for _, s := range c.slots {
		if w := s.serving(); w != nil && w.phase == ready && !w.beatAt.IsZero() {
			beats = append(beats, metrics.Beat{Slot: s.number, Age: now.Sub(w.beatAt)})
		}
	}
	return beats
}

// queues asks the kernel about every listening socket. What it does not tell is
// left out.
func (l *loop) queues() []metrics.Queue {
	var queues []metrics.Queue
	seen := map[*socket]bool{}
	for _, generation := range slices.Sorted(maps.Keys(l.sockets.of)) {
		for _, k := range l.sockets.of[generation] {
			if seen[k] {
				continue
			}
			seen[k] = true
			for i, listener := range k.list {
				if listener == nil {
					continue
				}
				q, err := listener.Queue()
				if err != nil {
					continue
				}
				slot := 0
				if k.perSlot {
					slot = i + 1
				}
				queues = append(queues, metrics.Queue{
					Address: listener.Addr(), Slot: slot,
					Waiting: uint64(q.Waiting), Limit: uint64(q.Limit), Dropped: uint64(q.Dropped),
				})
			}
		}
	}
	return queues
}
