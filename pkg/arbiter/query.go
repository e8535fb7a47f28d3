package arbiter

import (
	"slices"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// status is one consistent picture of everything that the arbiter knows. What
// only the system knows (RSS) is filled in by the loop.
func (c *core) status(now time.Time) *control.Status {
	s := &control.Status{
		Name: c.config.Name, State: c.shownState(), LastReload: c.reload.last,
		StartedAt: c.startedAt, UptimeSeconds: now.Sub(c.startedAt).Seconds(),
		Generation: c.generation.number, Listeners: c.listeners(),
		StopBudgetSeconds: c.config.StopBudget().Seconds(),
		Workers:           control.Workers{Configured: c.count, List: []control.Worker{}},
		Companions:        []control.Companion{},
	}
	for _, slot := range c.slots {
		if slot.number <= c.count && slot.isReady() {
			s.Workers.Ready++
		}
		if slot.queued && slot.serving() == nil {
			s.Workers.List = append(s.Workers.List, control.Worker{
				Slot: slot.number, Attempt: slot.attempts + 1, Generation: slot.generation.number, State: control.WorkerBooting,
				Restarts: slot.restarts, LastExit: slot.lastExit,
			})
		}
		for _, w := range slot.workers {
			s.Workers.List = append(s.Workers.List, w.view(now, slot))
		}
		if !slot.retryAt.IsZero() {
			at := slot.retryAt
			s.Workers.List = append(s.Workers.List, control.Worker{
				Slot: slot.number, Attempt: slot.attempts, Generation: slot.generation.number, State: control.WorkerBackoff,
				Restarts: slot.restarts, LastExit: slot.lastExit, NextRetryAt: &at,
			})
		}
	}
	if m := &c.manager; m.phase != managerNone {
		s.Manager = &control.Manager{
			PID: m.pid, State: string(m.phase), Restarts: m.restarts,
			StopTimeoutSeconds: c.config.Manager.StopTimeout.Seconds(), LastExit: m.lastExit,
		}
		if m.phase == managerBackoff && !m.deadline.IsZero() {
			at := m.deadline
			s.Manager.NextRetryAt = &at
		}
		specs := c.config.Companions // in the order of the instances: one walk for both
		for _, i := range m.mirrored() {
			shown := i.Companion
			shown.Describe(now)
			for len(specs) > 0 && specs[0].Name < i.Name {
				specs = specs[1:]
			}
			shown.Essential = len(specs) > 0 && specs[0].Name == i.Name && specs[0].Essential
			s.Companions = append(s.Companions, shown)
		}
	}
	return s
}

// firstPicture is the one before there is a core.
func (l *loop) firstPicture() *control.Status {
	c := newCore(l.Config, []string{}, l.startedAt, l.Random)
	if len(l.Config.Companions) > 0 && l.Lineage.Parent == 0 {
		c.manager.phase = managerStarting
		c.manager.expect(l.Config)
	}
	s := c.status(l.startedAt)
	s.Version, s.PID = l.Version, l.PID
	return s
}

// listeners are the addresses on which workers serve: those of the generation,
// and what slots of another one have besides, while a reload rolls or after one
// that stopped half-way.
func (c *core) listeners() []string {
	all := slices.Clone(c.generation.listeners)
	for _, s := range c.slots {
		for _, address := range s.generation.listeners {
			if s.number <= c.count && !slices.Contains(all, address) {
				all = append(all, address)
			}
		}
	}
	return all
}

func (c *core) shownState() string {
	switch {
	case c.state == serverRunning && c.reload.phase != reloadIdle:
		return control.StateReloading
	case c.state == serverRunning && c.upgrade.hasSibling():
		return control.StateUpgrading
	}
	return string(c.state)
}

func (w *worker) view(now time.Time, s *slot) control.Worker {
	at := w.startedAt
	return control.Worker{
		Slot: w.slot, Attempt: w.attempt, PID: w.pid, Generation: w.generation.number, State: w.phase.shown(),
		StartedAt: &at, UptimeSeconds: now.Sub(at).Seconds(), Restarts: s.restarts, LastExit: s.lastExit, Status: w.status,
	}
}
