package metrics

import (
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

func event(name string, attrs ...any) control.Event {
	e := control.Event{Time: time.Now(), Event: name, Attrs: map[string]any{}}
	for i := 0; i+1 < len(attrs); i += 2 {
		key, _ := attrs[i].(string)
		e.Attrs[key] = attrs[i+1]
	}
	return e
}

func started(slot, attempt int) control.Event {
	return event("worker.started", "slot", int64(slot), "attempt", int64(attempt))
}

func exited(slot int, reason string, expected bool) control.Event {
	return event("worker.exited", "slot", int64(slot), "reason", reason, "expected", expected)
}

func TestRestartsAreCountedByWhatCausedThem(t *testing.T) {
	for _, c := range []struct {
		why    string
		events []control.Event
	}{
		{"signal", []control.Event{started(1, 1), exited(1, "killed by SIGKILL", false), started(1, 2)}},
		{"exit", []control.Event{started(1, 1), exited(1, "exited", false), started(1, 2)}},
		{"timeout", []control.Event{started(1, 1), exited(1, "timeout", false), started(1, 2)}},
		{"boot", []control.Event{started(1, 1), exited(1, "boot_timeout", false), started(1, 2)}},
		{"start", []control.Event{exited(1, "cannot start app: no such file or directory", false), started(1, 2)}},
		{"scale", []control.Event{started(1, 1), exited(1, "scale", true), started(1, 2)}},
		{"reload", []control.Event{started(1, 1), started(1, 2), exited(1, "reload", true)}},
		{"recycled", []control.Event{started(1, 1), event("worker.recycled", "slot", int64(1)), started(1, 2), exited(1, "recycled", true)}},
		{"recycled", []control.Event{started(1, 1), event("worker.recycled", "slot", int64(1)), exited(1, "killed by SIGSEGV", false), started(1, 2)}},
	} {
		counters := NewCounters()
		for _, e := range c.events {
			counters.Observe(e)
		}
		f := parsed(t, counters.Text(full()))
		for _, reason := range reasons {
			want := 0.0
			if reason == c.why {
				want = 1
			}
			if got := value(t, f, "gofork_worker_restarts_total", "reason", reason); got != want {
				t.Errorf("%s: %v restarts for %s, want %v", c.why, got, reason, want)
			}
		}
	}
}

func TestASecondReloadAfterARollbackIsStillAReload(t *testing.T) {
	c := NewCounters()
	for _, e := range []control.Event{started(1, 1), started(1, 2), exited(1, "reload failed", true), started(1, 3), exited(1, "reload", true)} {
		c.Observe(e)
	}
	f := parsed(t, c.Text(full()))
	if got := value(t, f, "gofork_worker_restarts_total", "reason", "reload"); got != 2 {
		t.Errorf("%v reload starts, want 2", got)
	}
	if got := value(t, f, "gofork_worker_exits_total", "reason", "rollback", "expected", "true"); got != 1 {
		t.Errorf("%v rollbacks, want 1", got)
	}
}

func TestEventsAreCounted(t *testing.T) {
	c := NewCounters()
	for _, e := range []control.Event{
		event("worker.ready", "boot", 0.3), event("worker.ready", "boot", 70.0),
		event("worker.timeout", "clock", "timeout"), event("worker.killed"),
		event("companion.exited", "companion", "queue", "instance", 2.0, "expected", false), // as JSON brings it
		event("companion.exited", "companion", "queue", "instance", int64(2), "expected", true),
		event("companion.exited", "companion", "gone", "instance", int64(1), "expected", true),
		event("manager.exited", "expected", false),
		event("reload.done", "took", 2.0), event("reload.failed", "took", 400.0), event("reload.failed", "took", 0.0),
		event("orphan.reaped", "pid", int64(9)), event("orphan.reaped", "count", int64(999)),
		event("hook.failed"), event("server.ready"),
	} {
		c.Observe(e)
	}
	f := parsed(t, c.Text(full()))
	for _, s := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{2, "gofork_worker_boot_seconds", nil},
		{1, "gofork_worker_timeouts_total", []string{"clock", "timeout"}},
		{1, "gofork_worker_kills_total", nil},
		{1, "gofork_companion_exits_total", []string{"companion", "queue", "instance", "2", "expected", "false"}},
		{1, "gofork_companion_exits_total", []string{"companion", "queue", "instance", "2", "expected", "true"}},
		{1, "gofork_manager_exits_total", []string{"expected", "false"}},
		{1, "gofork_reloads_total", []string{"result", "ok"}},
		{2, "gofork_reloads_total", []string{"result", "failed"}},
		{3, "gofork_reload_duration_seconds", nil},
		{1000, "gofork_orphans_reaped_total", nil},
		{1, "gofork_hook_failures_total", nil},
	} {
		if got := value(t, f, s.name, s.labels...); got != s.want {
			t.Errorf("%s%q is %v, want %v", s.name, s.labels, got, s.want)
		}
	}
	if n := len(f["gofork_companion_exits_total"].GetMetric()); n != 4 {
		t.Errorf("%d series: a companion that is no more has none", n)
	}
}
