package companion

import (
	"cmp"
	"log/slog"
	"slices"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
)

// measureInterval is how often the memory of a companion with a max_memory is
// looked at. Nothing tells when a process grows, so this is the one thing that is
// polled, and only when it is asked for.
const measureInterval = 5 * time.Second

// quickWindow is what is left to everybody after a quick stop was asked for.
const quickWindow = 5 * time.Second

// core makes every decision of the manager. It is owned by the loop.
type core struct {
	instances []*instance // by name, then number: the order of everything
	byKey     map[key]*instance
	attempts  map[key]int // the last attempt of every instance that ever was: a removed one that comes back goes on counting
	agenda    agenda
	waiters   []*waiter
	pending   *pendingApply

	shutdown bool
	quick    bool
	finished bool

	random  func() float64 // 0 … 1, for jitter
	actions []action       // of the step under way
}

func newCore(random func() float64) *core {
	return &core{byKey: map[key]*instance{}, attempts: map[key]int{}, random: random}
}

// step takes one fact in and says what is to be done about it.
func (c *core) step(now time.Time, e event) []action {
	c.actions = nil
	touched := c.take(now, e)
	c.settleApply()
	c.publish(touched)
	for _, i := range touched {
		if c.byKey[i.key] == i {
			c.agenda.put(i)
		}
	}
	if c.shutdown && !c.finished && !slices.ContainsFunc(c.instances, (*instance).lives) {
		c.finished = true
		c.do(finish{})
	}
	return c.actions
}

// take carries a fact to whom it is about and returns who may have changed by it.
func (c *core) take(now time.Time, e event) []*instance {
	switch e := e.(type) {
	case applyAsked:
		c.apply(now, e.Apply)
	case actAsked:
		c.act(now, e.Act)
	case shutdownAsked:
		c.shutDown(now, e)
	case timePassed:
		due := c.agenda.due(now)
		slices.SortFunc(due, byKey)
		for _, i := range due {
			c.deadlines(now, i)
		}
		return due
	case aboutAttempt:
		i := c.current(e.about())
		if i == nil {
			return nil
		}
		c.takeOf(now, i, e)
		return []*instance{i}
	}
	return c.instances
}

// takeOf is take for the present attempt of one instance.
func (c *core) takeOf(now time.Time, i *instance, e aboutAttempt) {
	switch e := e.(type) {
	case processStarted:
		c.started(now, i, e.pid)
	case processExited:
		c.exited(now, i, e)
	case groupEnded:
		if i.leftover {
			c.groupEnded(now, i)
		}
	case readyReceived:
		if i.phase == starting {
			c.run(now, i)
		}
	case processMeasured:
		if i.phase == running && i.live.MaxMemory > 0 && e.rss > i.live.MaxMemory {
			c.stop(now, i, i.live.StopTimeout, thenStart, causeMemory)
		}
	}
}

// earliest is the next moment at which a timePassed is wanted; zero = never.
func (c *core) earliest() time.Time { return c.agenda.earliest() }

// due says whether an ordered start is still to be carried out: a stop that
// comes before the process exists makes the order void.
func (c *core) due(a id) bool {
	i := c.current(a)
	return i != nil && i.leader && i.pid == 0
}

func (c *core) do(a action) { c.actions = append(c.actions, a) }

// current finds the instance whose present attempt is meant.
func (c *core) current(a id) *instance {
	if i := c.byKey[a.key]; i != nil && i.attempt == a.attempt {
		return i
	}
	return nil
}

func (c *core) add(spec *config.Companion, number int) *instance {
	i := &instance{key: key{spec.Name, number}, spec: spec, live: spec, phase: stopped, changed: true}
	at, _ := slices.BinarySearchFunc(c.instances, i, byKey)
	c.instances = slices.Insert(c.instances, at, i)
	c.byKey[i.key] = i
	return i
}

// byKey is the order of everything.
func byKey(a, b *instance) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.number, b.number))
}

func (c *core) remove(i *instance) {
	c.agenda.drop(i)
	c.instances = slices.DeleteFunc(c.instances, func(o *instance) bool { return o == i })
	delete(c.byKey, i.key)
	c.resolve(i, outcomeRemoved)
	c.do(send{link.Message{Removed: &link.Removed{Name: i.name, Instance: i.number}}})
	c.do(forget{i.key})
}

// start orders the next attempt. Nothing of an earlier one lives: callers go
// through bringUp where that is not certain. Its clocks begin with its process,
// for the order may wait behind many others.
func (c *core) start(i *instance) {
	i.enter(starting)
	i.live = i.spec
	c.attempts[i.key]++
	i.attempt = c.attempts[i.key]
	i.wanted, i.cause = true, ""
	i.leader, i.pid, i.group = true, 0, 0
	i.signaled, i.killed = false, false
	c.do(startProcess{i.id(), i.live})
}

func (c *core) started(now time.Time, i *instance, pid int) {
	if !i.leader || i.pid != 0 {
		return
	}
	i.begun()
	i.pid, i.group = pid, pid
	i.changed = true
	i.startedAt = now
	i.deadline = now.Add(i.live.Startsecs)
	if i.failures.Failures > 0 {
		i.resetDeadline = now.Add(i.live.BackoffReset)
	}
	if i.live.MaxLifetime > 0 {
		jitter := time.Duration(c.random() * float64(i.live.MaxLifetimeJitter))
		i.lifetimeDeadline = now.Add(i.live.MaxLifetime + jitter)
	}
	c.record(slog.LevelInfo, "companion.started", "booting companion", i, slog.Int("attempt", i.attempt), slog.String("hash", i.live.Hash))
	if i.phase == starting && i.live.Startsecs <= 0 {
		c.run(now, i)
	}
}

func (c *core) run(now time.Time, i *instance) {
	i.enter(running)
	if i.live.MaxMemory > 0 {
		i.measureAt = now.Add(measureInterval)
	}
	c.record(slog.LevelInfo, "companion.running", "companion is up", i, slog.Duration("after", now.Sub(i.startedAt)))
	c.resolve(i, outcomeRunning)
}

// exited is the end of a leader. What the exit means depends on who wanted it.
func (c *core) exited(now time.Time, i *instance, e processExited) {
	if !i.leader {
		return
	}
	var up time.Duration
	if i.pid != 0 {
		up = now.Sub(i.startedAt)
	} else {
		i.begun() // and ended: it could not be started
	}
	i.leader, i.leftover = false, e.groupAlive
	i.exits++
	asked := i.phase == stopping
	success := e.status.signal == 0 && e.status.startError == "" && slices.Contains(i.live.SuccessCodes, e.status.code)
	again := i.live.Autorestart == config.RestartAlways || i.live.Autorestart == config.RestartOnFailure && !success
	expected := asked || success && i.live.Autorestart != config.RestartAlways
	reason := exitReason(e.status)
	if asked {
		reason = i.cause
	}
	i.lastExit = exitOf(now, e.status, expected, reason)
	c.recordExit(i, e.status, up)
	report := i.reports(e.status)
	i.pid = 0
	if i.leftover {
		c.endLeftover(now, i, asked)
	} else {
		i.group = 0
	}
	switch {
	case asked:
		i.changed = true
		if !i.leftover {
			c.ended(i)
		}
	case !again:
		i.enter(exited)
		if expected {
			c.resolve(i, outcomeFinished)
		} else {
			c.resolve(i, outcomeFailed)
		}
		c.final(i, e.status)
	default:
		delay := i.failures.Failed(i.policy(), up, c.random)
		if limit := i.live.Startretries; limit > 0 && i.failures.Failures > limit {
			i.enter(fatal)
			c.report(slog.LevelError, "companion.fatal", "companion failed too often, giving up", i, report,
				slog.Int("failures", i.failures.Failures), slog.String("reason", i.lastExit.Sentence()))
			c.resolve(i, outcomeFailed)
			c.final(i, e.status)
			return
		}
		i.enter(backoff)
		i.deadline = now.Add(delay)
		if delay > 0 || i.leftover {
			c.report(slog.LevelWarn, "companion.backoff", "companion waits before its restart", i, report,
				slog.Duration("delay", delay), slog.Int("failures", i.failures.Failures))
			c.resolve(i, outcomeFailed)
			return
		}
		c.resolve(i, outcomeFailed)
		c.start(i)
	}
}

// endLeftover asks members that outlive their leader to end, once.
func (c *core) endLeftover(now time.Time, i *instance, asked bool) {
	if !i.signaled && !i.killed {
		i.signaled = true
		c.do(signalGroup{i.id(), i.live.StopSignal})
	} else if asked && !i.live.StopGroup && !i.killed {
		// Only the leader had been asked; this is the members' first signal.
		c.do(signalGroup{i.id(), i.live.StopSignal})
	}
	if !asked {
		i.leftoverDeadline = now.Add(i.live.StopTimeout)
	}
}

// groupEnded is the end of the last member that outlived its leader.
func (c *core) groupEnded(now time.Time, i *instance) {
	i.leftover, i.group = false, 0
	i.leftoverDeadline = time.Time{}
	i.changed = true
	switch i.phase {
	case stopping:
		c.ended(i)
	case backoff:
		if i.deadline.IsZero() || due(i.deadline, now) {
			c.start(i)
		}
	}
}

// stop asks a living instance to end within window; what follows is said by next.
func (c *core) stop(now time.Time, i *instance, window time.Duration, next then, cause string) {
	deadline := now.Add(window)
	if i.phase == stopping {
		// One stop signal each: a further wish only changes what follows.
		i.then, i.cause = next, cause
		return
	}
	if i.leader && i.pid == 0 {
		// Ordered, and not begun: the order is void, and there is nothing to wait for.
		i.leader = false
		i.enter(stopping)
		i.then, i.cause = next, cause
		c.ended(i)
		return
	}
	ask := i.up()
	if !i.leftoverDeadline.IsZero() {
		deadline = i.leftoverDeadline // the members' window is running already
		i.leftoverDeadline = time.Time{}
	}
	i.enter(stopping)
	i.deadline, i.then, i.cause = deadline, next, cause
	c.record(slog.LevelInfo, "companion.stopping", "stopping companion", i,
		slog.String("cause", cause), slog.String("signal", proc.SignalName(i.live.StopSignal)), slog.Duration("window", deadline.Sub(now)))
	if !ask || i.signaled {
		return
	}
	i.signaled = true
	if i.live.StopGroup {
		c.do(signalGroup{i.id(), i.live.StopSignal})
	} else {
		c.do(signalProcess{i.id(), i.live.StopSignal})
	}
}

// ended is the end of STOPPING: nothing of the instance lives.
func (c *core) ended(i *instance) {
	c.record(slog.LevelInfo, "companion.stopped", "companion stopped", i, slog.String("cause", i.cause))
	switch i.then {
	case thenStart:
		c.resolve(i, outcomeStopped)
		c.start(i)
	case thenRemove:
		c.remove(i)
	default:
		c.resolve(i, outcomeStopped)
		i.enter(stopped)
	}
}

// deadlines handles what has come due for one instance.
func (c *core) deadlines(now time.Time, i *instance) {
	if due(i.leftoverDeadline, now) {
		i.leftoverDeadline = time.Time{}
		c.kill(i)
	}
	if i.phase == running && due(i.resetDeadline, now) {
		i.resetDeadline = time.Time{}
		i.failures.Reset()
		i.changed = true
	}
	if i.phase == running && due(i.lifetimeDeadline, now) {
		i.lifetimeDeadline = time.Time{}
		c.stop(now, i, i.live.StopTimeout, thenStart, causeLifetime)
		return
	}
	if i.phase == running && due(i.measureAt, now) {
		i.measureAt = now.Add(measureInterval)
		c.do(measureProcess{i.id()})
	}
	if !due(i.deadline, now) {
		return
	}
	i.deadline = time.Time{}
	switch i.phase {
	case starting:
		c.run(now, i)
	case backoff:
		i.changed = true
		if !i.leftover {
			c.start(i)
		}
	case stopping:
		c.kill(i)
	}
}

// kill is the end of a stop window.
func (c *core) kill(i *instance) {
	if i.killed || !i.lives() {
		return
	}
	i.killed = true
	i.stopKills++
	i.changed = true
	r := recordOf(slog.LevelWarn, "companion.killed", "companion did not stop in time, killing its process group", i)
	r.survivors = i.id()
	c.do(r)
	c.do(signalGroup{i.id(), syscall.SIGKILL})
}

// shutDown stops everything for good. Companions stop at the same time.
func (c *core) shutDown(now time.Time, e shutdownAsked) {
	c.shutdown = true
	c.quick = c.quick || e.quick
	for _, i := range slices.Clone(c.instances) {
		switch {
		case i.lives() && i.phase != stopping:
			window := i.live.StopTimeout
			if c.quick {
				window = min(window, quickWindow)
			}
			c.stop(now, i, window, thenStop, e.cause)
		case i.phase == stopping:
			if i.then == thenStart {
				i.then = thenStop
			}
		case i.phase == backoff:
			i.enter(stopped)
			c.resolve(i, outcomeStopped)
		}
		if c.quick && i.phase == stopping {
			i.deadline = sooner(i.deadline, now.Add(quickWindow))
		}
	}
	for _, i := range c.instances {
		c.overrule(i, "gofork is stopping")
	}
}

// final tells the arbiter of an essential companion's end.
func (c *core) final(i *instance, s exitStatus) {
	if !i.live.Essential {
		return
	}
	code := s.shellCode()
	if code == 0 {
		code = 5
	}
	c.do(send{link.Message{Final: &link.Final{Name: i.name, Instance: i.number, Code: code, Reason: i.lastExit.Sentence()}}})
}
