package arbiter

import (
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
)

func TestReadinessModes(t *testing.T) {
	mode := func(m string, after time.Duration) func(*config.Config) {
		return func(c *config.Config) { c.Worker.Ready, c.Worker.ReadyAfter = m, after }
	}
	for _, tt := range []struct {
		mode     string
		after    time.Duration
		said     phase // after READY=1 at once
		byItself time.Duration
	}{
		{"notify", time.Second, ready, 0},
		{"alive", time.Second, booting, time.Second},
		{"auto", time.Second, ready, time.Second},
		{"alive", 0, ready, 0},
		{"auto", 5 * time.Second, ready, 5 * time.Second},
	} {
		t.Run(fmt.Sprintf("%s after %v", tt.mode, tt.after), func(t *testing.T) {
			newRig(t, configOf(1, mode(tt.mode, tt.after))).ready("1.1").is("1.1", tt.said)
			r := newRig(t, configOf(1, mode(tt.mode, tt.after)))
			if tt.byItself > 0 {
				r.passTo(tt.byItself).is("1.1", ready)
			} else if tt.mode == "notify" {
				r.pass(time.Minute-1).is("1.1", booting)
			}
		})
	}
}

func TestReadyIsAnnouncedOnceWhenAllAre(t *testing.T) {
	r := newRig(t, configOf(2, hooks("when_ready")))
	r.ready("1.1").notLogged("server.ready")
	r.ready("2.1").logs("server.ready", slog.LevelInfo, "workers", "2")
	if _, ok := r.hasHook("when_ready"); !ok {
		t.Error("the hook when_ready was not run")
	}
	r.exit("1.1", crash).ready("1.2").notLogged("server.ready")
}

func TestCompanionsAloneAreReadyWithTheirManager(t *testing.T) {
	r := newRig(t, configOf(0, companions("job")))
	r.notLogged("server.ready")
	r.managerUp().logs("server.ready", slog.LevelInfo, "companions", "1")
}

func TestBootTimeoutKills(t *testing.T) {
	r := newRig(t, configOf(1))
	r.passTo(time.Minute).is("1.1", killing).orders("SIGKILL group 1.1")
	r.logs("worker.timeout", slog.LevelError, "clock", "boot_timeout", "timeout", "1m0s")
	r.exit("1.1", byKill).logs("worker.exited", slog.LevelError, "reason", "boot_timeout")
	r.passTo(time.Second).orders("start 1.2 generation 1")
}

func TestReadyAfterWinsOverBootTimeoutAtTheSameMoment(t *testing.T) {
	r := newRig(t, configOf(1, func(c *config.Config) {
		c.Worker.Ready, c.Worker.ReadyAfter, c.Worker.BootTimeout = "alive", time.Second, time.Second
	}))
	r.pass(time.Second).is("1.1", ready)
}

func TestHeartbeatIsEnforcedFromTheFirstBeatOn(t *testing.T) {
	r := newRig(t, configOf(1)).ready("1.1")
	r.pass(time.Hour).is("1.1", ready)
	r.beat("1.1").pass(20 * time.Second)
	last := r.now
	r.beat("1.1")
	r.passTo(30*time.Second).is("1.1", aborting).orders("SIGABRT 1.1")
	r.logs("worker.timeout", slog.LevelError, "clock", "timeout", "timeout", "30s")
	if got := r.logged("worker.timeout").attr("last_beat"); got != last.String() {
		t.Errorf("last_beat=%s, want %s", got, last)
	}
	r.beat("1.1").is("1.1", aborting) // too late
	r.passTo(2*time.Second).is("1.1", killing).orders("SIGKILL group 1.1")
	r.exit("1.1", byKill).logs("worker.exited", slog.LevelError, "reason", "timeout").orders("start 1.2 generation 1")
}

func TestABeatDuringTheBootStartsNoClockBeforeReady(t *testing.T) {
	r := newRig(t, configOf(1)).beat("1.1")
	r.pass(50*time.Second).is("1.1", booting)
	r.ready("1.1").is("1.1", ready).passTo(30*time.Second).is("1.1", aborting)
}

// An arbiter that stood still has not heard what was said.
func TestHeartbeatCountsAnewWhenNobodyLooked(t *testing.T) {
	r := newRig(t, configOf(1)).ready("1.1").beat("1.1")
	r.pass(30*time.Second+unwatched+1).is("1.1", ready)
	r.passTo(30*time.Second).is("1.1", aborting)

	r = newRig(t, configOf(1)).ready("1.1").beat("1.1")
	r.pass(30*time.Second+unwatched).is("1.1", aborting)
}

func TestHeartbeatCanBeOff(t *testing.T) {
	r := newRig(t, configOf(1, func(c *config.Config) { c.Worker.Timeout = 0 })).ready("1.1").beat("1.1")
	r.pass(24*time.Hour).is("1.1", ready)
}

func TestFailedBootsBeforeAnyWorkerWasReady(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status exitStatus
		code   int // 0 = it goes on
		reason string
	}{
		{"code 3", exitStatus{code: 3}, 3, "worker failed to boot"},
		{"code 4", exitStatus{code: 4}, 4, "app failed to load"},
		{"code 1", crash, 0, ""},
		{"killed", byKill, 0, ""},
		{"killed by signal 3, which is no code", exitStatus{signal: syscall.SIGQUIT}, 0, ""},
		{"not startable", noStart, 0, ""},
		{"code 0", exitedOK, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, configOf(2)).exit("1.1", tt.status)
			if tt.code == 0 {
				r.logs("worker.backoff", slog.LevelWarn, "delay", "1s", "failures", "1").passTo(time.Second).orders("start 1.2 generation 1")
				return
			}
			if rec := r.logged("server.stopping"); rec.level != slog.LevelError || rec.message != tt.reason {
				t.Errorf("%s %q, want %q", rec.level, rec.message, tt.reason)
			}
			r.orders("SIGTERM 2.1")
			r.exit("2.1", exitedOK).orders(fmt.Sprintf("finish %d", tt.code))
		})
	}
}

func TestBootRetriesInARow(t *testing.T) {
	r := newRig(t, configOf(1, func(c *config.Config) { c.Worker.BootRetries = 2 }))
	r.exit("1.1", crash).pass(time.Second)
	r.exit("1.2", crash).logs("worker.backoff", slog.LevelWarn, "delay", "2s").pass(2 * time.Second)
	r.exit("1.3", crash).orders("finish 3")
	if rec := r.logged("server.stopping"); rec.message != "worker failed to boot" {
		t.Errorf("%q", rec.message)
	}
}

func TestNoBootFailureHaltsOnceAWorkerWasReady(t *testing.T) {
	r := newRig(t, configOf(2)).ready("2.1")
	r.exit("1.1", exitStatus{code: 3})
	for n := 2; n < 50; n++ {
		r.pass(30 * time.Second)
		r.exit(fmt.Sprintf("1.%d", n), exitStatus{code: 3 + n%2})
	}
	if r.core.stop.asked {
		t.Error("gofork stops")
	}
	r.is("2.1", ready)
}

// backoffs reads the delays of the last slot in the log.
func (r *rig) delay() time.Duration {
	for _, a := range r.last {
		if a, ok := a.(record); ok && a.event == "worker.backoff" {
			for _, at := range a.attrs {
				if at.Key == "delay" {
					return at.Value.Duration()
				}
			}
		}
	}
	return 0
}

func TestDelaysOfASlot(t *testing.T) {
	const s = time.Second
	young := []time.Duration{0, s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s}
	r := serving(t, configOf(1))
	for round := range 2 {
		for i, want := range young {
			r.exit(attemptOf(r), crash)
			if got := r.delay(); got != want {
				t.Errorf("round %d, failure %d: delay %v, want %v", round, i+1, got, want)
			}
			if want > 0 {
				r.passTo(want)
			}
			r.allReady()
		}
		r.pass(30 * s) // long enough to forget
	}
}

func TestATimedOutBootIsNoTimeOfService(t *testing.T) {
	r := newRig(t, configOf(1))
	for n, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		a := attemptOf(r)
		r.pass(time.Minute).exit(a, byKill)
		if got := r.delay(); got != want {
			t.Errorf("failed boot %d: delay %v, want %v", n+1, got, want)
		}
		r.pass(want)
	}
}

func attemptOf(r *rig) string {
	w := r.worker(1)
	return fmt.Sprintf("%d.%d", w.slot, w.attempt)
}

func TestManyStartsAreSpaced(t *testing.T) {
	r := newRig(t, configOf(12))
	started := func() int { return strings.Count(strings.Join(said(r.all), "\n"), "start ") }
	if got := started(); got != paceBurst {
		t.Fatalf("%d start at once, want %d", got, paceBurst)
	}
	if got := len(r.core.status(r.now).Workers.List); got != 12 {
		t.Errorf("status shows %d workers, want 12: those that wait too", got)
	}
	for n := paceBurst + 1; n <= 12; n++ {
		r.passTo(paceInterval)
		if got := started(); got != n {
			t.Fatalf("%d have started, want %d", got, n)
		}
	}
	r.allReady()
	if r.core.state != serverRunning {
		t.Errorf("state %s", r.core.state)
	}
}

func TestPaceRefillsWithTime(t *testing.T) {
	var p pace
	for p.take(epoch) {
	}
	later := epoch.Add(20 * paceInterval)
	for n := range paceBurst {
		if !p.take(later) {
			t.Errorf("start %d waits", n)
		}
	}
	if at := p.next(); p.take(later) || at.Sub(later) != paceInterval {
		t.Errorf("the next waits %v, want %v", at.Sub(later), paceInterval)
	}
}

func TestABeatOrReadyOfTheDeadIsIgnored(t *testing.T) {
	r := serving(t, configOf(1)).exit("1.1", crash)
	r.ready("1.1").beat("1.1").is("1.2", booting)
	r.exit("1.1", crash).is("1.2", booting).orders()
	r.do(workerExited{id: id{7, 1}}).do(workerSaid{id: id{0, 0}, ready: true}).do(workerGroupEnded{id{1, 9}}).orders()
}
