package arbiter

import (
	"log/slog"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/proc"
)

// Why a worker was ended.
const (
	causeBootTimeout = "boot_timeout"
	causeHeartbeat   = "timeout"
	causeShutdown    = "shutdown"
	causeReload      = "reload"
	causeRollback    = "reload failed"
	causeRecycled    = "recycled"
	causeManagerDied = "manager died"
)

func (c *core) record(level slog.Level, event, message string, w *worker, attrs ...slog.Attr) {
	all := []slog.Attr{slog.Int("slot", w.slot), slog.Int("attempt", w.attempt), slog.Int("generation", w.generation.number)}
	if w.pid != 0 {
		all = append(all, slog.Int("pid", w.pid))
	}
	c.do(record{level, event, message, append(all, attrs...)})
}

func (c *core) recordExit(w *worker, s exitStatus, up time.Duration) {
	level, message := slog.LevelError, "worker exiting"
	switch {
	case w.asked:
		level = slog.LevelInfo
	case s.startError != "":
		message = "worker cannot be started"
	case w.cause != "":
		// Killed by one of the clocks, which has been logged.
	case s.signal == syscall.SIGTERM, s.signal == syscall.SIGQUIT, s.signal == 0 && s.code == 0 && w.stopping:
		level = slog.LevelWarn // from outside; a handler worker drains and exits with 0
	case s.signal == syscall.SIGKILL:
		message = "worker exiting, perhaps out of memory?"
		if s.oom {
			message = "worker exiting, perhaps out of memory? The cgroup's oom_kill count rose"
		}
	}
	c.record(level, "worker.exited", message, w, exitAttrs(s, w.asked, exitReason(s, w.cause), up)...)
}

// exitAttrs are the keys of every *.exited record.
func exitAttrs(s exitStatus, expected bool, reason string, up time.Duration) []slog.Attr {
	attrs := []slog.Attr{slog.Bool("expected", expected), slog.String("reason", reason), slog.Duration("uptime", up)}
	if s.signal == 0 {
		return append(attrs, slog.Int("code", s.code))
	}
	attrs = append(attrs, slog.String("signal", proc.SignalName(s.signal)))
	if s.core {
		attrs = append(attrs, slog.Bool("core_dumped", true))
	}
	return attrs
}

// exitReason is what was behind an exit: who asked for it, which clock ran out,
// or how it looks from outside.
func exitReason(s exitStatus, cause string) string {
	switch {
	case cause != "":
		return cause
	case s.startError != "":
		return s.startError
	case s.signal != 0:
		return "killed by " + proc.SignalName(s.signal)
	default:
		return control.ReasonExited
	}
}

func exitOf(now time.Time, s exitStatus, w *worker) *control.Exit {
	return newExit(now, s, w.asked, exitReason(s, w.cause))
}

func signalName(s syscall.Signal) string { return proc.SignalName(s) }

func newExit(now time.Time, s exitStatus, expected bool, reason string) *control.Exit {
	e := &control.Exit{At: now, Expected: expected, Reason: reason}
	if s.signal != 0 {
		name := proc.SignalName(s.signal)
		e.Signal = &name
		return e
	}
	code := s.code
	e.Code = &code
	return e
}
