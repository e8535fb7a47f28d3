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
	"github.com/gofork/gofork/pkg/restart"
)

// managerPhase is where the manager stands in the diagram of doc.go.
type managerPhase string

const (
	managerNone     managerPhase = "" // no companions are configured
	managerStarting managerPhase = control.ManagerStarting
	managerRunning  managerPhase = control.ManagerRunning
	managerStopping managerPhase = control.ManagerStopping
	managerKilling  managerPhase = control.ManagerKilling
	managerBackoff  managerPhase = control.ManagerBackoff
	managerStopped  managerPhase = control.ManagerStopped
)

// managerPolicy is when a manager that died is started again: 1, 2, 4 … 30 s,
// as for a companion.
var managerPolicy = restart.Policy{Initial: time.Second, Max: 30 * time.Second, Reset: 30 * time.Second}

// manager is what the arbiter knows of its one companion manager. It is plain
// data, owned by the core.
type manager struct {
	phase    managerPhase
	attempt  int
	pid      int
	leader   bool      // a process lives, or is about to
	deadline time.Time // of the phase: retry due, end of the stop window; zero = none
	asked    bool      // somebody wanted it to end
	held     bool      // its start waited for a predecessor's, which was logged

	startedAt time.Time
	failures  restart.Counter
	restarts  int
	lastExit  *control.Exit
	applies   uint64

	// acts are the requests that wait for an answer; sent of them are with the
	// present manager.
	acts map[uint64]link.Act
	sent map[uint64]bool

	// instances mirrors what the manager reports. It outlives a manager: the
	// next one is told what users had stopped and what had ended.
	instances map[key]*link.Instance
	// adopted are the groups that a dead manager has left, by number.
	adopted map[int]*adopted
}

func newManager() manager {
	return manager{
		acts: map[uint64]link.Act{}, sent: map[uint64]bool{},
		instances: map[key]*link.Instance{}, adopted: map[int]*adopted{},
	}
}

// lives says whether anything of the manager, or left by one, may be alive.
func (m *manager) lives() bool { return m.leader || len(m.adopted) > 0 }

func (m *manager) enter(p managerPhase, deadline time.Time) { m.phase, m.deadline = p, deadline }

func (m *manager) earliest() time.Time {
	t := m.deadline
	for _, a := range m.adopted {
		t = sooner(t, a.deadline)
	}
	return t
}

// unwanted says whether a companion is down because somebody wants it to be.
func (m *manager) unwanted(name string) bool {
	known := false
	for k, i := range m.instances {
		if k.name == name && i.Desired != control.Down {
			return false
		}
		known = known || k.name == name
	}
	return known
}

// mirrored are the reported instances in order.
func (m *manager) mirrored() []*link.Instance {
	return slices.SortedFunc(maps.Values(m.instances), func(a, b *link.Instance) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Instance, b.Instance))
	})
}

func (c *core) startManager(now time.Time) {
	m := &c.manager
	if m.attempt > 0 && !m.held {
		m.restarts++
	}
	m.attempt++
	m.leader, m.asked = true, false
	m.startedAt = now
	m.enter(managerStarting, time.Time{})
	c.do(startManager{m.attempt})
	m.applies++
	apply := link.Apply{ID: m.applies, Specs: c.config.Companions}
	for _, i := range m.mirrored() {
		apply.Remembered = append(apply.Remembered, *i)
	}
	m.expect(c.config)
	c.do(tellManager{m.attempt, link.Message{Apply: &apply}})
}

// expect shows what is configured until the manager has reported it, and nothing
// else but what still lives.
func (m *manager) expect(cfg *config.Config) {
	configured := map[key]bool{}
	for _, s := range cfg.Companions {
		for n := 1; n <= s.Numprocs; n++ {
			k := key{s.Name, n}
			configured[k] = true
			if m.instances[k] == nil {
				i := &link.Instance{Companion: control.Companion{Name: s.Name, Instance: n, Hash: s.Hash, State: control.Stopped, Desired: control.Down}}
				if s.Autostart {
					i.Desired = control.Up
				}
				m.instances[k] = i
			}
		}
	}
	maps.DeleteFunc(m.instances, func(k key, i *link.Instance) bool { return !configured[k] && i.Group == 0 })
}

func (c *core) managerStarted(e managerStarted) {
	m := &c.manager
	if e.attempt != m.attempt || !m.leader {
		return
	}
	m.pid, m.held = e.pid, false
	c.recordManager(slog.LevelInfo, "manager.started", "booting manager", slog.Int("attempt", m.attempt))
}

func (c *core) managerSaid(now time.Time, e managerSaid) {
	m := &c.manager
	if e.attempt != m.attempt || !m.leader {
		return
	}
	if m.phase == managerStarting {
		m.enter(managerRunning, time.Time{})
		c.recordManager(slog.LevelInfo, "manager.ready", "manager ready", slog.Duration("boot", now.Sub(m.startedAt)))
		c.forwardActs()
	}
	switch msg := e.message; {
	case msg.Instance != nil:
		m.instances[key{msg.Instance.Name, msg.Instance.Instance}] = msg.Instance
	case msg.Removed != nil:
		delete(m.instances, key{msg.Removed.Name, msg.Removed.Instance})
	case msg.Final != nil:
		c.essentialEnded(now, msg.Final)
	case msg.Done != nil:
		c.acted(msg.Done)
	case msg.Applied != nil:
		c.applied(now, msg.Applied)
	}
}

// essentialEnded is the end for good of a companion without which there is no point.
func (c *core) essentialEnded(now time.Time, f *link.Final) {
	c.fail(now, "essential companion "+control.InstanceID(f.Name, f.Instance)+" has ended: "+f.Reason, f.Code)
}

// managerExited is the end of the manager. Companions that it leaves behind are
// stopped here, each in its own way, before another manager starts them.
func (c *core) managerExited(now time.Time, e managerExited) {
	m := &c.manager
	if e.attempt != m.attempt || !m.leader {
		return
	}
	killed := m.phase == managerKilling
	up := now.Sub(m.startedAt)
	reason := ""
	if m.asked {
		reason = causeShutdown
	}
	reason = exitReason(e.status, reason)
	m.lastExit = newExit(now, e.status, m.asked, reason)
	level, message := slog.LevelError, "manager exited"
	if m.asked {
		level = slog.LevelInfo
	} else if e.status.signal == syscall.SIGKILL {
		message = "manager exited, perhaps out of memory?"
	}
	c.recordManager(level, "manager.exited", message, exitAttrs(e.status, m.asked, reason, up)...)
	m.leader, m.pid = false, 0
	c.recallActs()
	c.adopt(now, e.strays, killed)
	switch {
	case c.stop.asked:
		m.enter(managerStopped, time.Time{})
	case len(c.config.Companions) == 0:
		c.noManager()
	case m.asked:
		m.enter(managerBackoff, time.Time{}) // companions came back while it ended
	default:
		c.managerBacksOff(now, up)
	}
	c.managerLost(now)
	c.retryManager(now)
}

// noManager is the state without companions.
func (c *core) noManager() {
	c.manager.enter(managerNone, time.Time{})
	clear(c.manager.instances)
	c.refuseActs()
}

func (c *core) managerBacksOff(now time.Time, up time.Duration) {
	m := &c.manager
	delay := m.failures.Failed(managerPolicy, up, c.random)
	m.enter(managerBackoff, now.Add(delay))
	c.do(record{slog.LevelWarn, "manager.backoff", "manager waits before its restart", []slog.Attr{
		slog.Duration("delay", delay), slog.Int("failures", m.failures.Failures),
	}})
}

func (c *core) managerDeadlines(now time.Time) {
	m := &c.manager
	for _, a := range m.orphans() {
		if due(a.deadline, now) {
			a.deadline = time.Time{}
			if i := m.instances[a.key]; i != nil {
				i.StopKills++
			}
			c.recordAdopted(slog.LevelWarn, "companion.killed", "companion did not stop in time, killing its process group", a)
			c.do(signalAdopted{a.group, true, syscall.SIGKILL})
		}
	}
	if !due(m.deadline, now) {
		return
	}
	m.deadline = time.Time{}
	switch m.phase {
	case managerBackoff:
		c.retryManager(now)
	case managerStopping:
		m.enter(managerKilling, time.Time{})
		c.recordManager(slog.LevelWarn, "manager.killed", "manager did not stop in time, killing it and its companions")
		c.do(signalManager{m.attempt, syscall.SIGKILL})
	}
}

// retryManager starts the next manager when its delay is over and the last
// companion of the one before has ended.
func (c *core) retryManager(now time.Time) {
	m := &c.manager
	if m.phase == managerBackoff && m.deadline.IsZero() && !m.lives() && !c.stop.asked {
		c.startManager(now)
	}
}

// stopManager asks the manager to end within its window, or hurries it.
func (c *core) stopManager(now time.Time) {
	m := &c.manager
	if c.stop.quick {
		for _, a := range m.adopted {
			if a.deadline.IsZero() {
				continue // killed
			}
			a.deadline = sooner(a.deadline, now.Add(quickWindow))
		}
	}
	if !m.leader {
		if m.phase != managerNone {
			m.enter(managerStopped, time.Time{})
		}
		c.recallActs()
		return
	}
	deadline := now.Add(c.managerWindow())
	if c.stop.quick {
		// The manager kills at the end of the quick window; a moment more lets it.
		deadline = deadline.Add(time.Second)
	}
	if m.phase == managerStopping {
		deadline = sooner(m.deadline, deadline)
	}
	if m.phase != managerKilling {
		m.enter(managerStopping, deadline)
	}
	m.asked = true
	c.do(tellManager{m.attempt, link.Message{Stop: &link.Stop{Quick: c.stop.quick}}})
}

// managerWindow is what a stop leaves to the manager, and to companions without
// one. Without companions it is 0; to end takes a moment all the same.
func (c *core) managerWindow() time.Duration {
	if c.stop.quick {
		return quickWindow
	}
	return max(c.config.Manager.StopTimeout, time.Second)
}

func (c *core) recordManager(level slog.Level, event, message string, attrs ...slog.Attr) {
	var all []slog.Attr
	if c.manager.pid != 0 {
		all = append(all, slog.Int("pid", c.manager.pid))
	}
	c.do(record{level, event, message, append(all, attrs...)})
}
