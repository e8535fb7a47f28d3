package arbiter

import (
	"fmt"
	"log/slog"
	"time"
)

// lookForHeld is how often a manager that has to wait for another looks again.
// The other is no child, and nothing tells of its end.
const lookForHeld = time.Second

// predecessor finds a gofork of this name that was killed and whose manager still
// stops its companions: a second manager would start them twice. Who has a notify
// socket open is alive. 0 = there is none, or none that can be found.
func (p place) predecessor(name string, self int) (pid int) {
	lives := map[int]bool{} // arbiters
	var managers []int
	for _, s := range p.notifySockets(name) {
		switch {
		case s.arbiter == self || !s.answers():
		case s.manager:
			managers = append(managers, s.arbiter)
		default:
			lives[s.arbiter] = true
		}
	}
	for _, m := range managers {
		if !lives[m] {
			return m
		}
	}
	return 0
}

// managerHeld is a start that has to wait: the manager of a gofork that was killed
// has not stopped its companions yet.
func (c *core) managerHeld(now time.Time, e managerHeld) {
	m := &c.manager
	if e.attempt != m.attempt || !m.leader {
		return
	}
	if !m.held {
		c.do(record{slog.LevelWarn, "manager.backoff", fmt.Sprintf("the manager of gofork %d, which was killed, still stops its companions: waiting for its end", e.by), []slog.Attr{
			slog.Duration("delay", lookForHeld), slog.Int("failures", m.failures.Failures),
		}})
	}
	m.held, m.leader = true, false
	c.recallActs()
	switch {
	case c.stop.asked:
		m.enter(managerStopped, time.Time{})
	case len(c.config.Companions) == 0:
		m.held = false
		c.noManager()
	default:
		m.enter(managerBackoff, now.Add(lookForHeld))
	}
	if c.reload.phase == reloadApplying {
		c.endReload(now, "") // its start applies them, if there is one
	}
}
