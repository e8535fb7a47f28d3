package arbiter

import (
	"log/slog"
	"slices"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/config"
)

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
	if s.queued = !c.pace.take(now); !s.queued {
		c.startNow(now, s)
	}
}

// startQueued gives the next turns: first to slots that have no worker, then to
// those whose worker is to be replaced.
func (c *core) startQueued(now time.Time) {
	for _, successor := range []bool{false, true} {
		for _, s := range c.slots {
			if s.queued && s.startOn == successor && c.pace.take(now) {
				c.startNow(now, s)
			}
		}
	}
}

func (c *core) startNow(now time.Time, s *slot) {
	g := s.generation
	if s.startOn && c.reload.rolling() {
		g = c.reload.generation
	}
	s.queued = false
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
	w.stopping = w.stopping || e.stopping
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
	return s.number <= c.count && !c.stop.sent && !s.held() && s.retryAt.IsZero() && (!s.queued || s.startOn)
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
			s.queued = false
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
