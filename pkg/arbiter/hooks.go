package arbiter

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/launch"
	"github.com/gofork/gofork/pkg/proc"
)

// hookRun is one run of a hook. Hooks run one at a time, in the order of what
// they are about.
type hookRun struct {
	name     string
	env      []string
	pid      int
	then     func(error) // on the loop, once it has ended; nil = nobody waits
	deadline time.Time   // hooks.timeout: its group is killed
	late     bool
	ended    bool // by gofork, which stops: that is no failure
}

// maxHooks bounds the queue: a hook that hangs must not eat memory while workers
// crash in a loop.
const maxHooks = 1024

func (l *loop) queueHook(name string, env []string, then func(error)) {
	h := &hookRun{name: name, env: env, then: then}
	if len(l.hooks) >= maxHooks {
		l.hookFailed(h, "too many hooks are waiting: this one is left out")
		return
	}
	l.hooks = append(l.hooks, h)
	l.nextHook()
}

// nextHook starts the first of the queue if none runs.
func (l *loop) nextHook() {
	for len(l.hooks) > 0 && l.hooks[0].pid == 0 {
		if err := l.startHook(l.hooks[0]); err != nil {
			h := l.hooks[0]
			l.hooks = l.hooks[1:]
			l.hookFailed(h, err.Error())
			continue
		}
		return
	}
}

func (l *loop) startHook(h *hookRun) error {
	cfg := l.config()
	argv := cfg.Hooks.Commands[h.name]
	if len(argv) == 0 {
		return fmt.Errorf("it is not configured any more")
	}
	p := &config.Process{Env: cfg.Server.Env, Umask: cfg.Server.Umask}
	env := l.env.Of(p, append([]string{"GOFORK_HOOK=" + h.name, "GOFORK_PID=" + strconv.Itoa(l.PID)}, h.env...)...)
	command, err := launch.Command(p, argv, env)
	if err != nil {
		return err
	}
	command.Files = []int{proc.DevNull, unix.Stdout, unix.Stderr}
	command.ParentDeathSignal = syscall.SIGKILL
	if h.pid, err = l.System.Start(command); err != nil {
		return err
	}
	if cfg.Hooks.Timeout > 0 {
		h.deadline = time.Now().Add(cfg.Hooks.Timeout)
	}
	return nil
}

// hookExited takes the end of a hook in, if pid is one.
func (l *loop) hookExited(pid int, status exitStatus) {
	if len(l.hooks) == 0 || l.hooks[0].pid != pid {
		return
	}
	h := l.hooks[0]
	l.hooks = l.hooks[1:]
	switch {
	case h.ended:
		l.Logger.Info("hook ended early: gofork stops", "hook", h.name)
	case h.late:
		l.hookFailed(h, fmt.Sprintf("killed after hooks.timeout (%s)", l.config().Hooks.Timeout))
	case status.signal != 0:
		l.hookFailed(h, "killed by "+signalName(status.signal))
	case status.code != 0:
		l.hookFailed(h, fmt.Sprintf("exited with code %d", status.code))
	case h.then != nil:
		h.then(nil)
	}
	l.nextHook()
}

func (l *loop) hookFailed(h *hookRun, reason string) {
	l.log(record{slog.LevelError, "hook.failed", "hook failed", []slog.Attr{slog.String("hook", h.name), slog.String("reason", reason)}})
	if h.then != nil {
		h.then(fmt.Errorf("hook %s failed: %s", h.name, reason))
	}
}

// hookDeadline is when the running hook has taken too long; zero = never.
func (l *loop) hookDeadline() time.Time {
	if len(l.hooks) == 0 {
		return time.Time{}
	}
	return l.hooks[0].deadline
}

func (l *loop) hookDue(now time.Time) {
	if h := l.hookDeadline(); due(h, now) {
		l.hooks[0].deadline, l.hooks[0].late = time.Time{}, true
		_ = l.System.SignalGroup(l.hooks[0].pid, syscall.SIGKILL)
	}
}

// runHook runs a hook before the loop begins, or after it has ended, and waits
// for its end and that of those before it.
func (l *loop) runHook(name string, env ...string) error {
	if len(l.config().Hooks.Commands[name]) == 0 {
		return nil
	}
	var result error
	l.queueHook(name, env, func(err error) { result = err })
	for len(l.hooks) > 0 {
		l.awaitHook()
	}
	return result
}

// drainHooks lets the hooks that are queued at the end run, all of them together
// for no longer than hooks.timeout, or what a quick stop leaves to everybody.
func (l *loop) drainHooks() {
	window := l.config().Hooks.Timeout
	if window <= 0 || l.core != nil && l.core.stop.quick {
		window = quickWindow
	}
	until := time.Now().Add(window)
	for len(l.hooks) > 0 && time.Now().Before(until) {
		h := l.hooks[0]
		h.deadline = sooner(h.deadline, until)
		l.awaitHook()
	}
	for len(l.hooks) > 1 {
		h := l.hooks[len(l.hooks)-1]
		l.hooks = l.hooks[:len(l.hooks)-1]
		l.hookFailed(h, "left out: gofork ends")
	}
	if len(l.hooks) > 0 {
		l.hooks[0].deadline = until.Add(time.Second) // killed: it has a moment to be gone
		l.awaitHook()
	}
	l.hooks = nil
}

// awaitHook waits for the end of the running hook, or for the end of its time.
// Before the loop begins nobody else listens to signals and to the supervisor's
// clock.
func (l *loop) awaitHook() {
	wait, at := time.Hour, l.hookDeadline()
	var signals <-chan os.Signal
	if l.core == nil {
		signals, at = l.Signals, sooner(at, l.aboveDeadline(time.Now()))
	}
	if !at.IsZero() {
		wait = time.Until(at)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-l.System.Changed():
		for _, x := range l.System.Sweep().Exits {
			l.hookExited(x.PID, exitStatus{code: x.Code, signal: x.Signal, core: x.CoreDumped})
		}
	case s := <-signals:
		if l.signalAtStart(s) {
			l.endHook()
		}
	case <-timer.C:
		l.hookDue(time.Now())
		if l.core == nil {
			l.aboveDue(time.Now())
		}
	}
}

// endHook asks the running hook to end, and leaves it what a quick stop leaves to
// everybody; asked again, nothing.
func (l *loop) endHook() {
	h := l.hooks[0]
	if h.ended {
		_ = l.System.SignalGroup(h.pid, syscall.SIGKILL)
		return
	}
	h.ended, h.deadline = true, sooner(h.deadline, time.Now().Add(quickWindow))
	_ = l.System.SignalGroup(h.pid, syscall.SIGTERM)
}

// config is the configuration that is in force.
func (l *loop) config() *config.Config {
	if l.core != nil {
		return l.core.config
	}
	return l.Config
}
