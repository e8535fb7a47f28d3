package companion

import (
	"cmp"
	"log/slog"
	"slices"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
)

// quickWindow is what is left to everybody after a quick stop was asked for.
const quickWindow = 5 * time.Second

// core makes every decision of the manager. It is owned by the loop.
type core struct {
	instances []*instance // by name, then number: the order of everything
	byKey     map[key]*instance
	waiters   []*waiter
	pending   *pendingApply

	shutdown bool
	quick    bool
	finished bool

	random  func() float64 // 0 … 1, for jitter
	actions []action       // of the step under way
}

func newCore(random func() float64) *core {
	return &core{byKey: map[key]*instance{}, random: random}
}

// step takes one fact in and says what is to be done about it.
func (c *core) step(now time.Time, e event) []action {
	c.actions = nil
	switch e := e.(type) {
	case applyAsked:
		c.apply(now, e.Apply)
	case actAsked:
		c.act(now, e.Act)
	case shutdownAsked:
		c.shutDown(now, e)
	case processStarted:
		if i := c.current(e.id); i != nil {
			c.started(now, i, e.pid)
		}
	case processExited:
		if i := c.current(e.id); i != nil {
			c.exited(now, i, e)
		}
	case groupEnded:
		if i := c.current(e.id); i != nil && i.leftover {
			c.groupEnded(now, i)
		}
	case readyReceived:
		if i := c.current(e.id); i != nil && i.phase == starting {
			c.run(now, i)
		}
	case timePassed:
		for _, i := range slices.Clone(c.instances) {
			c.deadlines(now, i)
		}
	}
	c.settleApply()
	c.publish()
	if c.shutdown && !c.finished && !slices.ContainsFunc(c.instances, (*instance).lives) {
		c.finished = true
		c.do(finish{})
	}
	return c.actions
}

// earliest is the next moment at which a timePassed is wanted; zero = never.
func (c *core) earliest() time.Time {
	var t time.Time
	for _, i := range c.instances {
		t = sooner(t, i.earliest())
	}
	return t
}

func (c *core) do(a action) { c.actions = append(c.actions, a) }

// current finds the instance whose present attempt is meant.
func (c *core) current(a id) *instance {
	if i := c.byKey[a.key]; i != nil && i.attempt == a.attempt {
		return i
	}
	return nil
}

func (c *core) add(spec config.Companion, number int) *instance {
	i := &instance{key: key{spec.Name, number}, spec: spec, live: spec, phase: stopped, changed: true}
	at, _ := slices.BinarySearchFunc(c.instances, i.key, func(o *instance, k key) int {
		return cmp.Or(cmp.Compare(o.name, k.name), cmp.Compare(o.number, k.number))
	})
	c.instances = slices.Insert(c.instances, at, i)
	c.byKey[i.key] = i
	return i
}

func (c *core) remove(i *instance) {
	c.instances = slices.DeleteFunc(c.instances, func(o *instance) bool { return o == i })
	delete(c.byKey, i.key)
	c.resolve(i, outcomeRemoved)
	c.do(send{link.Message{Removed: &link.Removed{Name: i.name, Instance: i.number}}})
	c.do(forget{i.key})
}

// start begins the next attempt. Nothing of an earlier one lives: its callers
// go through wantUp where that is not certain.
func (c *core) start(now time.Time, i *instance) {
	i.enter(starting)
	if i.attempt > 0 {
		i.restarts++
	}
	i.live = i.spec
	i.attempt++
	i.wanted, i.cause = true, ""
	i.leader, i.pid, i.group = true, 0, 0
	i.signaled, i.killed = false, false
	i.startedAt = now
	i.deadline = now.Add(i.live.Startsecs)
	i.lifetimeDeadline, i.resetDeadline = time.Time{}, time.Time{}
	if i.failures.Failures > 0 {
		i.resetDeadline = now.Add(i.live.BackoffReset)
	}
	if i.live.MaxLifetime > 0 {
		jitter := time.Duration(c.random() * float64(i.live.MaxLifetimeJitter))
		i.lifetimeDeadline = now.Add(i.live.MaxLifetime + jitter)
	}
	c.do(startProcess{i.id(), i.live})
}

func (c *core) started(now time.Time, i *instance, pid int) {
	if !i.leader {
		return
	}
	i.pid, i.group = pid, pid
	i.changed = true
	c.record(slog.LevelInfo, "companion.started", "booting companion", i, slog.Int("attempt", i.attempt), slog.String("hash", i.live.Hash))
	if i.phase == starting && i.live.Startsecs <= 0 {
		c.run(now, i)
	}
}

func (c *core) run(now time.Time, i *instance) {
	i.enter(running)
	c.record(slog.LevelInfo, "companion.running", "companion is up", i, slog.Duration("after", now.Sub(i.startedAt)))
	c.resolve(i, outcomeRunning)
}

// exited is the end of a leader. What the exit means depends on who wanted it.
func (c *core) exited(now time.Time, i *instance, e processExited) {
	if !i.leader {
		return
	}
	up := now.Sub(i.startedAt)
	i.leader, i.leftover = false, e.groupAlive
	i.exits++
	i.lifetimeDeadline = time.Time{}
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
			c.ended(now, i)
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
			c.record(slog.LevelError, "companion.fatal", "companion failed too often, giving up", i,
				slog.Int("failures", i.failures.Failures), slog.String("reason", i.lastExit.Sentence()))
			c.resolve(i, outcomeFailed)
			c.final(i, e.status)
			return
		}
		i.enter(backoff)
		i.deadline = now.Add(delay)
		if delay > 0 || i.leftover {
			c.record(slog.LevelWarn, "companion.backoff", "companion waits before its restart", i,
				slog.Duration("delay", delay), slog.Int("failures", i.failures.Failures))
			c.resolve(i, outcomeFailed)
			return
		}
		c.resolve(i, outcomeFailed)
		c.start(now, i)
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
		c.ended(now, i)
	case backoff:
		if i.deadline.IsZero() || due(i.deadline, now) {
			c.start(now, i)
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
func (c *core) ended(now time.Time, i *instance) {
	c.resolve(i, outcomeStopped)
	c.record(slog.LevelInfo, "companion.stopped", "companion stopped", i, slog.String("cause", i.cause))
	switch i.then {
	case thenStart:
		if !c.shutdown {
			i.failures.Reset()
			c.start(now, i)
			return
		}
		i.enter(stopped)
	case thenRemove:
		c.remove(i)
	default:
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
			c.start(now, i)
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
	c.record(slog.LevelWarn, "companion.killed", "companion did not stop in time, killing its process group", i)
	c.do(signalGroup{i.id(), syscall.SIGKILL})
}

// shutDown stops everything for good. Companions stop at the same time.
func (c *core) shutDown(now time.Time, e shutdownAsked) {
	c.shutdown = true
	c.quick = c.quick || e.quick
	for _, i := range slices.Clone(c.instances) {
		switch {
		case i.lives() && i.phase != stopping:
			c.stop(now, i, i.live.StopTimeout, thenStop, e.cause)
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
	c.failWaitingStarts()
}

// final tells the arbiter of an essential companion's end.
func (c *core) final(i *instance, s exitStatus) {
	if !i.live.Essential || c.shutdown {
		return
	}
	code := s.shellCode()
	if code == 0 {
		code = 5
	}
	c.do(send{link.Message{Final: &link.Final{Name: i.name, Instance: i.number, Code: code, Reason: i.lastExit.Sentence()}}})
}

// publish tells the arbiter what has changed. It comes before any answer.
func (c *core) publish() {
	var changed []action
	for _, i := range c.instances {
		if i.changed {
			i.changed = false
			changed = append(changed, send{link.Message{Instance: i.view()}})
		}
	}
	if len(changed) == 0 {
		return
	}
	// Records go before answers of the same step (see package link), but after
	// the orders: a start must not wait for the line.
	at := slices.IndexFunc(c.actions, func(a action) bool {
		s, ok := a.(send)
		return ok && (s.message.Done != nil || s.message.Applied != nil)
	})
	if at < 0 {
		at = len(c.actions)
	}
	c.actions = slices.Insert(c.actions, at, changed...)
}

// view is what the arbiter is told of an instance.
func (i *instance) view() *link.Instance {
	v := &link.Instance{
		Companion: control.Companion{
			Name: i.name, Instance: i.number, State: string(i.phase), Desired: control.Down,
			PID: i.pid, Hash: i.spec.Hash, Restarts: i.restarts, Exits: i.exits,
			Failures: i.failures.Failures, StopKills: i.stopKills, LastExit: i.lastExit,
		},
	}
	if i.wanted {
		v.Desired = control.Up
	}
	if i.pid != 0 {
		at := i.startedAt
		v.StartedAt = &at
	}
	if i.phase == backoff && !i.deadline.IsZero() {
		at := i.deadline
		v.NextRetryAt = &at
	}
	if i.lives() && i.group != 0 {
		v.Group, v.StopSignal, v.StopTimeout, v.StopGroup = i.group, i.live.StopSignal, i.live.StopTimeout, i.live.StopGroup
	}
	return v
}
