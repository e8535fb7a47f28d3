package arbiter

import (
	"log/slog"
	"slices"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/link"
)

// state is the whole's.
type state string

const (
	serverStarting state = "starting"
	serverRunning  state = "running"
	serverStopping state = "stopping"
)

// Exit codes of gofork serve that the core decides on.
const (
	codeRuntimeFailure = 1
	codeBootFailed     = 3 // also a worker's own way to say so
	codeLoadFailed     = 4 // the same
)

// core makes every decision of the arbiter. It is owned by the loop.
type core struct {
	config     *config.Config
	booted     *config.Config // what gofork was started with
	generation *generation    // that serves, or boots first
	state      state
	served     bool // a worker was ready once: boot failures no longer halt
	announced  bool // server.ready was said

	count   int     // workers wanted
	slots   []*slot // by number from 1; never fewer than have a living worker
	pace    pace
	manager manager
	reload  reload
	upgrade upgrade
	stop    stop
	pid     int // of this process

	startedAt time.Time

	finished bool
	random   func() float64 // 0 … 1, for jitter
	actions  []action       // of the step under way
}

// stop is what is known of the end.
type stop struct {
	asked    bool
	askedAt  time.Time
	signaled bool // by a signal, of which another one is quick
	quick    bool
	code     int       // of the whole
	at       time.Time // when the stop signals are due; zero = they are sent
	sent     bool      // they are
	since    time.Time // when they were: the windows count from it
}

func newCore(cfg *config.Config, listeners []string, now time.Time, random func() float64) *core {
	c := &core{
		config: cfg, booted: cfg, generation: &generation{1, cfg, listeners}, state: serverStarting,
		startedAt: now, random: random, reload: reload{highest: 1},
		manager: newManager(),
	}
	if cfg.Worker != nil {
		c.count = cfg.Worker.Count
	}
	return c
}

// step takes one fact in and says what is to be done about it.
func (c *core) step(now time.Time, e event) []action {
	c.actions = nil
	switch e := e.(type) {
	case began:
		c.boot(now)
	case workerStarted:
		if w := c.find(e.id); w != nil {
			c.workerStarted(now, w, e.pid)
		}
	case workerExited:
		if w := c.find(e.id); w != nil && w.leader {
			c.workerExited(now, w, e)
		}
	case workerGroupEnded:
		if w := c.find(e.id); w != nil && w.leftover {
			w.leftover = false
			c.bury(w)
		}
	case workerSaid:
		if w := c.find(e.id); w != nil && w.lives() {
			c.workerSaid(now, w, e)
		}
	case managerStarted:
		c.managerStarted(e)
	case managerHeld:
		c.managerHeld(now, e)
	case managerExited:
		c.managerExited(now, e)
	case managerSaid:
		c.managerSaid(now, e)
	case adoptedExited:
		c.adoptedExited(now, e)
	case adoptedGroupEnded:
		c.adoptedGroupEnded(now, e.group)
	case reloadAsked:
		c.askReload(now, e)
	case configLoaded:
		c.configLoaded(now, e)
	case upgradeAsked:
		c.askUpgrade(e)
	case upgradeStarted:
		c.upgradeStarted(e)
	case upgradeReady:
		c.upgradeReady()
	case upgradeExited:
		c.upgradeExited(e.status)
	case parentGone:
		c.parentGone(now)
	case parkAsked:
		c.park(now, e.by)
	case scaleAsked:
		c.scale(now, e)
	case workerMeasured:
		if w := c.find(e.id); w != nil {
			c.measured(w, e.rss)
		}
	case reopenAsked:
		c.reopen()
	case stopAsked:
		c.askStop(now, e)
		if e.token != 0 {
			c.do(reply{e.token, nil})
		}
	case actAsked:
		c.act(e)
	case statusAsked:
		if e.follow {
			c.do(replyFollow{e.token, c.status(now)})
		} else {
			c.do(reply{e.token, c.status(now)})
		}
	case timePassed:
		c.deadlines(now)
	}
	c.advance(now)
	c.announce()
	c.finishIfDone()
	return c.actions
}

func (c *core) do(a action) { c.actions = append(c.actions, a) }

// earliest is the next moment at which a timePassed is wanted; zero = never.
func (c *core) earliest() time.Time {
	t := sooner(c.stop.at, c.manager.earliest())
	t = sooner(t, c.reload.deadline)
	for _, s := range c.slots {
		t = sooner(t, sooner(s.retryAt, s.recycleAt))
		if s.queued {
			t = sooner(t, c.pace.next())
		}
		for _, w := range s.workers {
			t = sooner(t, w.deadline)
			if w.serves() && w.phase == ready {
				t = sooner(t, sooner(w.recycleAt, w.measureAt))
			}
		}
	}
	return t
}

func (c *core) find(a id) *worker {
	if a.slot < 1 || a.slot > len(c.slots) {
		return nil
	}
	return c.slots[a.slot-1].find(a.attempt)
}

// boot starts the first generation and the manager. The workers come first:
// the manager's start must not delay the first answer.
func (c *core) boot(now time.Time) {
	c.fill(now)
	c.watchSources()
	if len(c.config.Companions) > 0 && c.upgrade.parent == 0 {
		c.startManager(now)
	}
}

// watchSources follows what the serving generation names.
func (c *core) watchSources() {
	if w := c.generation.worker(); w != nil && len(w.Watch) > 0 {
		c.do(watchSources{w.Watch})
	} else {
		c.do(watchSources{})
	}
}

// deadlines handles what has come due.
func (c *core) deadlines(now time.Time) {
	for _, s := range c.slots {
		for _, w := range slices.Clone(s.workers) {
			if due(w.deadline, now) {
				c.workerDue(now, w)
			}
			c.recyclingDue(now, w)
		}
		if due(s.retryAt, now) {
			s.retryAt = time.Time{}
			if c.wanted(s) {
				c.startWorker(now, s, false)
			}
		}
		if due(s.recycleAt, now) {
			s.recycleAt = time.Time{}
		}
	}
	c.startQueued(now)
	c.managerDeadlines(now)
	c.reloadDue(now)
	if due(c.stop.at, now) {
		c.sendStop(now)
	}
}

// reopen passes the wish for fresh log files on to whoever understands it.
func (c *core) reopen() {
	for _, s := range c.slots {
		for _, w := range s.workers {
			sig := w.generation.worker().ReopenSignal
			if w.generation.worker().Handler != "" {
				sig = syscall.SIGUSR1
			}
			if w.leader && sig != 0 && w.phase == ready {
				c.do(signalWorker{w.id, sig})
			}
		}
	}
	if c.manager.leader {
		c.do(tellManager{c.manager.attempt, link.Message{Reopen: &link.Reopen{}}})
	}
}

// announce says once that the first generation serves.
func (c *core) announce() {
	if c.announced || c.stop.asked || c.state != serverStarting {
		return
	}
	for _, s := range c.slots {
		if s.number <= c.count && !s.isReady() {
			return
		}
	}
	if len(c.slots) == 0 && c.manager.phase != managerRunning && c.upgrade.parent == 0 {
		return
	}
	c.announced = true
	c.state = serverRunning
	c.do(record{slog.LevelInfo, "server.ready", "ready", []slog.Attr{
		slog.Int("workers", c.count), slog.Int("companions", len(c.config.Companions)),
	}})
	c.do(tellSystemd{"READY=1\nSTATUS=running"})
	c.hook("when_ready")
	if c.upgrade.parent != 0 {
		c.do(tellParent{})
	}
}
