package companion

import (
	"log/slog"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/proc"
)

// Why an instance was asked to end. They are the reasons of expected exits.
const (
	causeStop     = "stopped"
	causeRestart  = "restarted"
	causeReload   = "reloaded"
	causeRemoved  = "removed"
	causeShutdown = "shutdown"
	causeArbiter  = "the arbiter is gone"
	causeLifetime = "recycled: max_lifetime"
	causeMemory   = "recycled: max_memory"
)

func (c *core) record(level slog.Level, event, message string, i *instance, attrs ...slog.Attr) {
	c.do(recordOf(level, event, message, i, attrs...))
}

func recordOf(level slog.Level, event, message string, i *instance, attrs ...slog.Attr) record {
	all := []slog.Attr{slog.String("companion", i.name), slog.Int("instance", i.number)}
	if i.pid != 0 {
		all = append(all, slog.Int("pid", i.pid))
	}
	return record{level: level, event: event, message: message, attrs: append(all, attrs...)}
}

// report is a record that shows, if asked to, what the instance had printed.
func (c *core) report(level slog.Level, event, message string, i *instance, output bool, attrs ...slog.Attr) {
	c.record(level, event, message, i, attrs...)
	if output {
		last := len(c.actions) - 1
		r := c.actions[last].(record)
		r.output = i.key
		c.actions[last] = r
	}
}

func (c *core) recordExit(i *instance, s exitStatus, up time.Duration) {
	attrs := []slog.Attr{slog.Bool("expected", i.lastExit.Expected), slog.String("reason", i.lastExit.Reason), slog.Duration("uptime", up)}
	if s.signal != 0 {
		attrs = append(attrs, slog.String("signal", proc.SignalName(s.signal)))
		if s.core {
			attrs = append(attrs, slog.Bool("core_dumped", true))
		}
	} else {
		attrs = append(attrs, slog.Int("code", s.code))
	}
	level, message := slog.LevelError, "companion exited"
	switch {
	case i.lastExit.Expected:
		level = slog.LevelInfo
	case s.startError != "":
		message = "companion cannot be started"
	case s.signal == syscall.SIGKILL:
		message = "companion exited, perhaps out of memory?"
	}
	c.report(level, "companion.exited", message, i, i.reports(s), attrs...)
}

func exitReason(s exitStatus) string {
	switch {
	case s.startError != "":
		return s.startError
	case s.signal != 0:
		return "killed by " + proc.SignalName(s.signal)
	default:
		return control.ReasonExited
	}
}

func exitOf(now time.Time, s exitStatus, expected bool, reason string) *control.Exit {
	e := &control.Exit{At: now, Expected: expected, Reason: reason}
	if s.signal != 0 {
		name := proc.SignalName(s.signal)
		e.Signal = &name
	} else {
		code := s.code
		e.Code = &code
	}
	return e
}
