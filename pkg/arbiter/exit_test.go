package arbiter

import (
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

func TestExitsAreClassified(t *testing.T) {
	const memory = "perhaps out of memory?"
	for _, tt := range []struct {
		name   string
		status exitStatus
		asked  bool
		level  slog.Level
		reason string
		hint   bool
	}{
		{"asked, exits", exitedOK, true, slog.LevelInfo, "shutdown", false},
		{"asked, killed by the signal", byTerm, true, slog.LevelInfo, "shutdown", false},
		{"asked, fails", crash, true, slog.LevelInfo, "shutdown", false},
		{"TERM from outside", byTerm, false, slog.LevelWarn, "killed by SIGTERM", false},
		{"QUIT from outside", exitStatus{signal: syscall.SIGQUIT}, false, slog.LevelWarn, "killed by SIGQUIT", false},
		{"KILL from outside", byKill, false, slog.LevelError, "killed by SIGKILL", true},
		{"SEGV with a core", exitStatus{signal: syscall.SIGSEGV, core: true}, false, slog.LevelError, "killed by SIGSEGV", false},
		{"code", exitStatus{code: 7}, false, slog.LevelError, "exited", false},
		{"code 0", exitedOK, false, slog.LevelError, "exited", false},
		{"not startable", noStart, false, slog.LevelError, noStart.startError, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serving(t, configOf(1))
			if tt.asked {
				r.stop(false)
			}
			r.exit("1.1", tt.status)
			expected := "false"
			if tt.asked {
				expected = "true"
			}
			r.logs("worker.exited", tt.level, "expected", expected, "reason", tt.reason)
			rec := r.logged("worker.exited")
			if strings.Contains(rec.message, memory) != tt.hint {
				t.Errorf("message %q", rec.message)
			}
			if core := rec.attr("core_dumped"); core != "" != tt.status.core {
				t.Errorf("core_dumped=%q", core)
			}
			if tt.status.signal != 0 && rec.attr("code") != "" || tt.status.signal == 0 && rec.attr("signal") != "" {
				t.Errorf("code=%q and signal=%q", rec.attr("code"), rec.attr("signal"))
			}
		})
	}
}

func TestWorkerThatStopsByItself(t *testing.T) {
	for _, tt := range []struct {
		status exitStatus
		level  slog.Level
	}{
		{exitedOK, slog.LevelWarn}, // a handler worker after a SIGTERM from outside
		{exitStatus{code: 7}, slog.LevelError},
		{byKill, slog.LevelError},
	} {
		r := serving(t, configOf(1)).do(workerSaid{id: idOf("1.1"), stopping: true})
		r.exit("1.1", tt.status).logs("worker.exited", tt.level, "expected", "false")
	}
}

func TestAReadyWorkerThatDiesIsReplacedAtOnce(t *testing.T) {
	r := serving(t, configOf(2)).exit("2.1", crash)
	r.orders("start 2.2 generation 1")
	s := r.core.status(r.now)
	if s.Workers.Ready != 1 || s.Workers.Configured != 2 {
		t.Errorf("ready %d of %d", s.Workers.Ready, s.Workers.Configured)
	}
	if w := s.Workers.List[1]; w.Restarts != 1 || w.LastExit == nil || *w.LastExit.Code != 1 || w.State != control.WorkerBooting {
		t.Errorf("%+v", w)
	}
}

func TestAnExitSeenBeforeTheStartReturnedIsAnOrdinaryOrder(t *testing.T) {
	c := newCore(configOf(1), nil, epoch, nil)
	c.step(epoch, began{})
	c.step(epoch, workerExited{id: id{1, 1}, status: crash})
	if actions := c.step(epoch, workerStarted{id{1, 1}, 9}); len(actions) != 0 {
		t.Errorf("%v", actions)
	}
	if c.slots[0].retryAt != epoch.Add(time.Second) {
		t.Errorf("retry at %v", c.slots[0].retryAt)
	}
}

func TestLeftoversOfAWorkerAreAskedAndThenKilled(t *testing.T) {
	r := serving(t, configOf(1)).exitLeaving("1.1", crash)
	r.orders("SIGTERM group 1.1", "start 1.2 generation 1")
	r.allReady().passTo(30*time.Second).is("1.1", killing).orders("SIGKILL group 1.1")
	r.gone("1.1").shows("1.2 generation 1 ready")
}

func TestLeftoversOfAKilledWorkerAreNotAskedAgain(t *testing.T) {
	r := newRig(t, configOf(1)).pass(time.Minute)
	r.exitLeaving("1.1", byKill).is("1.1", killing).orders()
	r.pass(time.Second).orders("start 1.2 generation 1")
	r.gone("1.1").shows("1.2 generation 1 booting")
}

func TestAWindowIsTheWholeGroupsNotOneForTheLeaderAndOneForTheRest(t *testing.T) {
	r := serving(t, configOf(1)).stop(false).pass(29 * time.Second)
	r.exitLeaving("1.1", exitedOK).orders("SIGTERM group 1.1")
	r.passTo(time.Second).orders("SIGKILL group 1.1")
	r.gone("1.1").orders("finish 0")
}

func TestAWindowIsTheSameForWhoIsScaledAway(t *testing.T) {
	r := serving(t, configOf(2))
	r.scale(1, 0)
	r.pass(29*time.Second).exitLeaving("2.1", exitedOK).orders("SIGTERM group 2.1")
	r.passTo(time.Second).orders("SIGKILL group 2.1")
}

func TestLeftoversOfAnAbortedWorkerFitInTheStopWindow(t *testing.T) {
	r := serving(t, configOf(1)).beat("1.1").pass(30 * time.Second).stop(false).orders()
	r.pass(time.Second).exitLeaving("1.1", exitStatus{signal: syscall.SIGABRT})
	r.passTo(29 * time.Second).orders("SIGKILL group 1.1")
}

func TestHooksOfAnExit(t *testing.T) {
	r := serving(t, configOf(1, hooks("child_exit", "pre_fork", "post_fork"))).exit("1.1", exitStatus{code: 7})
	env, ok := r.hasHook("child_exit")
	if got := strings.Join(env, " "); !ok || got != "GOFORK_WORKER_SLOT=1 GOFORK_GENERATION=1 GOFORK_WORKER_PID=101 GOFORK_WORKER_EXIT_CODE=7" {
		t.Errorf("child_exit: %q", got)
	}
	if _, ok := r.hasHook("pre_fork"); !ok {
		t.Error("no pre_fork for the next")
	}
	env, _ = r.hasHook("post_fork")
	if got := strings.Join(env, " "); got != "GOFORK_WORKER_SLOT=1 GOFORK_GENERATION=1 GOFORK_WORKER_PID=102" {
		t.Errorf("post_fork: %q", got)
	}
}
