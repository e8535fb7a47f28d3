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
	generation *generation // that serves, or boots first
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
	asked bool
	quick bool
	code  int       // of the whole
	at    time.Time // when the stop signals are due; zero = they are sent
	sent  bool      // they are
	since time.Time // when they were: the windows count from it
}

func newCore(cfg *config.Config, listeners []string, now time.Time, random func() float64) *core {
	c := &core{
		config: cfg, generation: &generation{1, cfg, listeners}, state: serverStarting,
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
		t = sooner(t, sooner(s.retryAt, sooner(s.startAt, s.recycleAt)))
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

// fill gives every wanted slot a worker.
func (c *core) fill(now time.Time) {
	for len(c.slots) < c.count {
		c.slots = append(c.slots, &slot{number: len(c.slots) + 1, generation: c.generation})
	}
	for _, s := range c.slots {
		if c.wanted(s) {
			c.startWorker(now, s, false)
		}
	}
}

// startWorker begins the slot's next attempt, when its turn comes: many at once
// would keep each other, and those who serve, from the CPUs.
func (c *core) startWorker(now time.Time, s *slot, successor bool) {
	if !successor { // else the slot's own next attempt comes all the same
		s.retryAt = time.Time{}
	}
	s.startOn = successor
	if s.startAt = c.pace.next(now); !s.startAt.IsZero() {
		return
	}
	c.startNow(now, s)
}

func (c *core) startNow(now time.Time, s *slot) {
	g := s.generation
	if s.startOn && c.reload.rolling() {
		g = c.reload.generation
	}
	s.startAt = time.Time{}
	if s.attempts > 0 && !s.startOn {
		s.restarts++ // a successor counts when it takes the slot over
	}
	s.attempts++
	w := &worker{id: id{s.number, s.attempts}, generation: g, leader: true, successor: s.startOn, startedAt: now}
	w.enter(booting, bootDeadline(now, g.worker()))
	s.workers = append(s.workers, w)
	c.hook("pre_fork", workerEnv(w)...)
	c.do(startWorker{w.id, g})
}

// bootDeadline is when the boot is decided one way or the other.
func bootDeadline(now time.Time, cfg *config.Worker) time.Time {
	var t time.Time
	if cfg.BootTimeout > 0 {
		t = now.Add(cfg.BootTimeout)
	}
	if cfg.Ready != "notify" {
		t = sooner(t, now.Add(cfg.ReadyAfter))
	}
	return t
}

func (c *core) workerStarted(now time.Time, w *worker, pid int) {
	w.pid = pid
	c.record(slog.LevelInfo, "worker.started", "booting worker", w)
	c.hook("post_fork", workerEnv(w)...)
	// The first attempt to serve at once, without a notification to wait for.
	if w.phase == booting && w.generation.worker().Ready != "notify" && w.generation.worker().ReadyAfter <= 0 {
		c.becomeReady(now, w)
	}
}

func (c *core) workerSaid(now time.Time, w *worker, e workerSaid) {
	if e.status != "" {
		w.status = e.status
	}
	if e.beat {
		w.beatAt = now
	}
	if e.ready && w.phase == booting && w.generation.worker().Ready != "alive" {
		c.becomeReady(now, w)
	}
	if e.recycle != "" {
		c.wantRecycling(w, e.recycle)
	}
	if e.beat && w.phase == ready {
		w.deadline = c.heartbeatDeadline(w)
	}
}

func (c *core) becomeReady(now time.Time, w *worker) {
	w.readyAt = now
	w.enter(ready, c.heartbeatDeadline(w))
	s := c.slots[w.slot-1]
	s.served, s.boots = true, 0
	c.served = true
	c.lifetime(now, w)
	c.record(slog.LevelInfo, "worker.ready", "worker ready", w, slog.Duration("boot", now.Sub(w.startedAt)))
}

// heartbeatDeadline is when the worker has been silent for too long; never,
// before its first beat. A boot has a clock of its own, so silence counts from
// ready on at the earliest.
func (c *core) heartbeatDeadline(w *worker) time.Time {
	timeout := w.generation.worker().Timeout
	if timeout <= 0 || w.beatAt.IsZero() {
		return time.Time{}
	}
	if w.beatAt.Before(w.readyAt) {
		return w.readyAt.Add(timeout)
	}
	return w.beatAt.Add(timeout)
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
		if due(s.startAt, now) {
			c.startNow(now, s)
		}
		if due(s.recycleAt, now) {
			s.recycleAt = time.Time{}
		}
	}
	c.managerDeadlines(now)
	c.reloadDue(now)
	if due(c.stop.at, now) {
		c.sendStop(now)
	}
}

// unwatched is how late a look at a heartbeat may be. When it is later, the
// arbiter, or everything, stood still (SIGSTOP, a frozen cgroup, a suspended
// machine): what workers said meanwhile did not fit into the queue, or they stood
// still, too. Their silence then counts anew.
const unwatched = 100 * time.Millisecond

func (c *core) workerDue(now time.Time, w *worker) {
	cfg := w.generation.worker()
	switch w.phase {
	case booting:
		if cfg.Ready != "notify" && !now.Before(w.startedAt.Add(cfg.ReadyAfter)) {
			c.becomeReady(now, w)
			return
		}
		w.cause = causeBootTimeout
		c.record(slog.LevelError, "worker.timeout", "worker timeout", w, slog.String("clock", "boot_timeout"), slog.Duration("timeout", cfg.BootTimeout))
		c.kill(w)
	case ready:
		if now.Sub(w.deadline) > unwatched {
			w.deadline = now.Add(cfg.Timeout)
			return
		}
		w.cause = causeHeartbeat
		c.record(slog.LevelError, "worker.timeout", "worker timeout", w, slog.String("clock", "timeout"),
			slog.Duration("timeout", cfg.Timeout), slog.Time("last_beat", w.beatAt))
		w.enter(aborting, now.Add(cfg.AbortGrace))
		c.do(signalWorker{w.id, syscall.SIGABRT})
	case aborting, draining:
		c.kill(w)
	}
}

// kill is the end of every window.
func (c *core) kill(w *worker) {
	w.enter(killing, time.Time{})
	c.record(slog.LevelWarn, "worker.killed", "killing worker", w, slog.String("cause", w.cause))
	c.do(signalWorkerGroup{w.id, syscall.SIGKILL})
}

// drain asks a worker to end after it has answered what it has.
func (c *core) drain(now time.Time, w *worker, signal syscall.Signal, window time.Duration, cause string) {
	if !w.serves() {
		return
	}
	w.asked, w.cause = true, cause
	w.enter(draining, now.Add(window))
	c.record(slog.LevelInfo, "worker.draining", "worker draining", w, slog.String("cause", cause))
	c.do(signalWorker{w.id, signal})
}

// wanted says whether the slot is to have a worker that it has not.
func (c *core) wanted(s *slot) bool {
	return s.number <= c.count && !c.stop.sent && !s.held() && s.retryAt.IsZero() && (s.startAt.IsZero() || s.startOn)
}

// workerExited is the end of a leader: members that outlive it are asked to
// end, and the slot decides on its next attempt.
func (c *core) workerExited(now time.Time, w *worker, e workerExited) {
	s := c.slots[w.slot-1]
	wasReady, wasKilled := !w.readyAt.IsZero(), w.phase == killing
	w.leader, w.leftover = false, e.groupAlive
	s.lastExit = exitOf(now, e.status, w)
	c.recordExit(w, e.status, now.Sub(w.startedAt))
	until := c.leftoversUntil(now, w)
	w.deadline = time.Time{}
	switch {
	case w.leftover && !wasKilled:
		w.enter(draining, until)
		c.do(signalWorkerGroup{w.id, w.generation.worker().StopSignal})
	case w.leftover:
		w.phase = killing
	}
	c.bury(w)
	c.hook("child_exit", append(workerEnv(w), exitEnv(e.status)...)...)
	if w.successor && !w.asked {
		c.successorFailed(now, s, w, e.status)
		return
	}
	if !w.asked {
		s.recycle, s.recycleAt = "", time.Time{} // it has ended without that
		if s.startOn && !c.reload.rolling() {
			s.startAt = time.Time{}
		}
		if next := s.successor(); next != nil && next.generation == s.generation {
			next.successor = false // the slot's already
			s.restarts++
		}
	}
	if w.asked || !c.wanted(s) {
		return
	}
	if !wasReady {
		s.boots++
		if c.halts(now, s, e.status) {
			return
		}
	}
	delay := s.failures.Failed(s.policy(), w.service(now), c.random)
	if delay == 0 {
		c.startWorker(now, s, false)
		return
	}
	s.retryAt = now.Add(delay)
	c.do(record{slog.LevelWarn, "worker.backoff", "worker waits before its restart", []slog.Attr{
		slog.Int("slot", s.number), slog.Duration("delay", delay), slog.Int("failures", s.failures.Failures),
	}})
}

// leftoversUntil is the end of the window of a worker's whole group: what its
// leader has used of it is not given again to those that outlive it.
func (c *core) leftoversUntil(now time.Time, w *worker) time.Time {
	from, window := now, w.generation.config.Server.GracefulTimeout
	if c.stop.sent {
		from = c.stop.since
	}
	if c.stop.quick {
		window = quickWindow
	}
	if w.phase == draining {
		return sooner(w.deadline, from.Add(window))
	}
	return from.Add(window)
}

// bury forgets a worker of which nothing lives.
func (c *core) bury(w *worker) {
	if w.lives() {
		return
	}
	s := c.slots[w.slot-1]
	s.workers = slices.DeleteFunc(s.workers, func(o *worker) bool { return o == w })
	if len(s.workers) == 0 && s.number > max(c.count, c.reload.target) && !c.stop.sent {
		c.do(retireSlot{s.number})
	}
}

// halts says whether a failed boot ends everything: only before any worker has
// ever been ready.
func (c *core) halts(now time.Time, s *slot, status exitStatus) bool {
	if c.served {
		return false
	}
	exited := status.signal == 0 && status.startError == ""
	switch {
	case exited && status.code == codeLoadFailed:
		c.fail(now, "app failed to load", codeLoadFailed)
	case exited && status.code == codeBootFailed:
		c.fail(now, "worker failed to boot", codeBootFailed)
	case s.boots > s.generation.worker().BootRetries:
		c.fail(now, "worker failed to boot", codeBootFailed)
	default:
		return false
	}
	return true
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
