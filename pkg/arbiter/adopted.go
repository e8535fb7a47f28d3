package arbiter

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// strayWindow is left to a stray of which no configuration says how to stop it.
const strayWindow = 10 * time.Second

// adopted is the group of a dead manager's companion.
type adopted struct {
	group    int
	key      key
	leader   bool
	whole    bool // stop_group
	signal   syscall.Signal
	deadline time.Time // SIGKILL; zero = sent
	window   time.Duration
}

// orphans are the adopted groups in the order of their companions.
func (m *manager) orphans() []*adopted {
	return slices.SortedFunc(maps.Values(m.adopted), func(a, b *adopted) int {
		return cmp.Or(cmp.Compare(a.key.name, b.key.name), cmp.Compare(a.key.number, b.key.number), cmp.Compare(a.group, b.group))
	})
}

// adopt takes over the living groups of a dead manager and asks each to end.
func (c *core) adopt(now time.Time, strays []stray, atOnce bool) {
	m := &c.manager
	for _, i := range m.mirrored() {
		if i.Group == 0 {
			settleMirror(i)
			continue
		}
		c.adoptGroup(now, &adopted{
			group: i.Group, key: key{i.Name, i.Instance}, leader: i.PID != 0,
			whole: i.StopGroup, signal: i.StopSignal, window: i.StopTimeout,
		}, i.State == control.Stopping, atOnce)
	}
	for _, s := range strays {
		spec, ok := c.config.Companion(s.name)
		if !ok { // taken out of the configuration since
			spec = config.Companion{StopGroup: true, StopSignal: syscall.SIGTERM, StopTimeout: strayWindow}
		}
		if m.adopted[s.group] == nil {
			c.adoptGroup(now, &adopted{
				group: s.group, key: s.key, leader: true,
				whole: spec.StopGroup, signal: spec.StopSignal, window: spec.StopTimeout,
			}, false, atOnce)
		}
	}
}

func (c *core) adoptGroup(now time.Time, a *adopted, signaled, atOnce bool) {
	m := &c.manager
	a.deadline = now.Add(a.window)
	if c.stop.sent {
		a.deadline = sooner(a.deadline, c.stop.since.Add(c.managerWindow()))
	}
	m.adopted[a.group] = a
	if i := m.instances[a.key]; i != nil {
		i.State, i.NextRetryAt = control.Stopping, nil
	}
	c.do(watchAdopted{a.group})
	switch {
	case atOnce:
		a.deadline = time.Time{}
		c.recordAdopted(slog.LevelWarn, "companion.killed", "killing companion of a dead manager", a)
		c.do(signalAdopted{a.group, true, syscall.SIGKILL})
	case !signaled:
		c.recordAdopted(slog.LevelInfo, "companion.stopping", "stopping companion of a dead manager", a,
			slog.String("cause", causeManagerDied), slog.String("signal", signalName(a.signal)), slog.Duration("window", a.window))
		c.do(signalAdopted{a.group, a.whole || !a.leader, a.signal})
	}
}

func (c *core) adoptedExited(now time.Time, e adoptedExited) {
	a := c.manager.adopted[e.group]
	if a == nil || !a.leader {
		return
	}
	a.leader = false
	var up time.Duration
	if i := c.manager.instances[a.key]; i != nil {
		if i.StartedAt != nil {
			up = now.Sub(*i.StartedAt)
		}
		i.PID, i.StartedAt = 0, nil
		i.Exits++
		i.LastExit = newExit(now, e.status, true, causeManagerDied)
	}
	c.recordAdopted(slog.LevelInfo, "companion.exited", "companion exited", a, exitAttrs(e.status, true, causeManagerDied, up)...)
	if !a.whole && !a.deadline.IsZero() {
		c.do(signalAdopted{a.group, true, a.signal}) // its members' first signal
	}
}

// adoptedGroupEnded is the end of the last process of a dead manager's companion.
func (c *core) adoptedGroupEnded(now time.Time, group int) {
	m := &c.manager
	a := m.adopted[group]
	if a == nil {
		return
	}
	delete(m.adopted, group)
	if i := m.instances[a.key]; i != nil {
		settleMirror(i)
		if spec, known := c.config.Companion(a.key.name); !known || a.key.number > spec.Numprocs {
			delete(m.instances, a.key) // removed meanwhile
		}
		c.recordAdopted(slog.LevelInfo, "companion.stopped", "companion stopped", a, slog.String("cause", causeManagerDied))
	}
	c.retryManager(now)
}

// settleMirror notes that nothing of the instance lives, so that status tells
// the truth while there is no manager.
func settleMirror(i *link.Instance) {
	switch i.State {
	case control.Exited, control.Fatal:
	default:
		i.State = control.Stopped
	}
	i.PID, i.StartedAt, i.NextRetryAt, i.Group = 0, nil, nil, 0
}

func (c *core) recordAdopted(level slog.Level, event, message string, a *adopted, attrs ...slog.Attr) {
	all := []slog.Attr{slog.String("companion", a.key.name), slog.Int("instance", a.key.number), slog.Int("pid", a.group)}
	c.do(record{level, event, message, append(all, attrs...)})
}
