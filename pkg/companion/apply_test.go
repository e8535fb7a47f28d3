package companion

import (
	"fmt"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// result returns what an apply was answered with, or nil.
func (r *rig) result(id uint64) *control.CompanionsChange {
	r.t.Helper()
	var found *control.CompanionsChange
	for _, a := range r.all {
		if s, ok := a.(send); ok && s.message.Applied != nil && s.message.Applied.ID == id {
			if found != nil {
				r.t.Errorf("apply %d was answered twice", id)
			}
			found = &s.message.Applied.Change
		}
	}
	return found
}

func (r *rig) applied(id uint64, added, removed, restarted, unchanged []string) *rig {
	r.t.Helper()
	want := control.CompanionsChange{Added: added, Removed: removed, Restarted: restarted, Unchanged: unchanged}
	got := r.result(id)
	if got == nil {
		r.t.Errorf("apply %d has no answer", id)
	} else if !reflect.DeepEqual(*got, want) {
		r.t.Errorf("apply %d: %+v, want %+v", id, *got, want)
	}
	return r
}

func (r *rig) unanswered(id uint64) *rig {
	r.t.Helper()
	if got := r.result(id); got != nil {
		r.t.Errorf("apply %d is answered already: %+v", id, *got)
	}
	return r
}

func names(s ...string) []string { return append([]string{}, s...) }

func procs(n int) func(*config.Companion) { return func(s *config.Companion) { s.Numprocs = n } }

func TestApplyTouchesOnlyWhatDiffers(t *testing.T) {
	r := newRig(t, specOf("changes"), specOf("goes"), specOf("stays"))
	r.unanswered(1).up("changes").up("goes").unanswered(1).up("stays")
	r.applied(1, names("changes", "goes", "stays"), names(), names(), names())

	r.reload(specOf("stays"), specOf("changes", changed), specOf("comes"))
	r.orders("SIGTERM to group goes#1", "SIGTERM to group changes#1", "start comes#1")
	r.up("comes").exit("changes", exitStatus{}).unanswered(2).orders("start changes#2")
	r.begin("changes").unanswered(2).exit("goes", exitStatus{})
	r.applied(2, names("comes"), names("goes"), names("changes"), names("stays"))
	if r.find("goes") != nil {
		t.Error("what was removed is still there")
	}
	rec := r.recorded("companions.applied")
	if rec.level != info || fmt.Sprint(attr(rec, "restarted")) != "[changes]" || fmt.Sprint(attr(rec, "unchanged")) != "[stays]" {
		t.Errorf("%v", rec)
	}

	r.apply(specOf("stays"), specOf("changes", changed), specOf("comes")).orders()
	r.applied(3, names(), names(), names(), names("changes", "comes", "stays"))
}

// Whoever saw the answer sees the effect: records come before it, with a pid.
func TestAnswerToApplyFollowsTheRecordsOfItsStarts(t *testing.T) {
	r := newRig(t)
	r.apply(specOf("a")).wants("start a#1", "a is STARTING")
	r.begin("a").wants("a is STARTING", "INFO companion.started", "INFO companions.applied", "applied 1")
	if v := r.last[0].(send).message.Instance; v.PID == 0 || v.Group != v.PID {
		t.Errorf("record %+v has no pid", v)
	}
	r.apply().wants("a is STOPPING", "INFO companion.stopping", "SIGTERM to group a#1")
	r.exit("a", exitStatus{}).wants("INFO companion.exited", "INFO companion.stopped", "a is no more", "forget a", "INFO companions.applied", "applied 2")
}

func TestAFailedStartDoesNotHoldTheAnswerUp(t *testing.T) {
	r := newRig(t, specOf("a")).exit("a", exitStatus{code: 127, startError: "cannot start a"})
	r.is("a", backoff).applied(1, names("a"), names(), names(), names())
}

func TestNumprocsScalesWithoutTouchingOthers(t *testing.T) {
	r := newRig(t, specOf("a", procs(2))).up("a").up("a:2")
	r.apply(specOf("a", procs(4))).orders("start a:3#1", "start a:4#1").up("a:3").up("a:4")
	r.applied(2, names(), names(), names(), names("a"))
	r.apply(specOf("a", procs(1))).orders("SIGTERM to group a:2#1", "SIGTERM to group a:3#1", "SIGTERM to group a:4#1")
	r.unanswered(3).exit("a:2", exitStatus{}).exit("a:4", exitStatus{}).exit("a:3", exitStatus{})
	r.applied(3, names(), names(), names(), names("a")).is("a", running)
	if len(r.core.instances) != 1 {
		t.Errorf("%d instances are left", len(r.core.instances))
	}
}

// manager.reload_timeout bounds what each has for itself.
func TestWindowOfAReloadBoundsEachOfTheCompanions(t *testing.T) {
	for window, want := range map[time.Duration]time.Duration{0: 7 * time.Second, time.Minute: 7 * time.Second, 2 * time.Second: 2 * time.Second} {
		own := func(s *config.Companion) { s.ReloadTimeout = 7 * time.Second }
		r := newRig(t, specOf("a", own)).up("a")
		r.applyAll(link.Apply{Specs: []config.Companion{specOf("a", own, changed)}, Reload: true, Window: window})
		r.orders("SIGTERM to group a#1").pass(want - 1).orders().pass(1).orders("SIGKILL to group a#1")
	}
}

func TestScalingDownAndUpWhileItStopsNeverRunsTwo(t *testing.T) {
	r := newRig(t, specOf("a", procs(2))).up("a").up("a:2")
	r.apply(specOf("a")).is("a:2", stopping)
	r.apply(specOf("a", procs(2))).is("a:2", stopping).orders()
	r.exit("a:2", exitStatus{}).is("a:2", starting).orders("start a:2#2")
}

func TestRemovedAndPutBackWhileItStops(t *testing.T) {
	r := newRig(t, specOf("a")).up("a").apply().is("a", stopping)
	r.apply(specOf("a", changed)).orders().unanswered(3)
	r.exit("a", exitStatus{}).orders("start a#2").begin("a")
	r.applied(3, names("a"), names(), names(), names())
	r.applied(2, names(), names("a"), names(), names())
	if h := r.get("a").live.Hash; h != "2" {
		t.Errorf("it runs spec %s", h)
	}

	t.Run("without autostart", func(t *testing.T) {
		r := newRig(t, specOf("a")).up("a").apply()
		r.apply(specOf("a", byHand))
		r.exit("a", exitStatus{}).is("a", stopped).orders()
		if r.get("a").wanted {
			t.Error("it is wanted up")
		}
	})
	t.Run("and out again", func(t *testing.T) {
		r := newRig(t, specOf("a")).up("a").apply().apply(specOf("a")).apply().unanswered(4)
		r.exit("a", exitStatus{}).applied(4, names(), names("a"), names(), names())
		if r.find("a") != nil {
			t.Error("it is still there")
		}
	})
	t.Run("after its end", func(t *testing.T) {
		// Attempts go on counting: an event of the old one is not taken for the new.
		r := newRig(t, specOf("a")).up("a")
		old := r.get("a").id()
		r.apply().exit("a", exitStatus{}).apply(specOf("a")).orders("start a#2").up("a")
		r.do(processExited{id: old, status: crash}).wants().is("a", running)
		if n := r.get("a").restarts; n != 0 {
			t.Errorf("a new companion has %d restarts", n)
		}
	})
}

func TestStoppedCompanionsStayStoppedAndKeepTheChangeForLater(t *testing.T) {
	r := newRig(t, specOf("a")).up("a")
	r.act(opStop, "a")
	r.reload(specOf("a", changed)).is("a", stopping)
	r.exit("a", exitStatus{}).is("a", stopped)
	r.applied(2, names(), names(), names(), names("a")) // nothing was restarted
	r.reload(specOf("a", changed, func(s *config.Companion) { s.OnReload.Restart = true })).is("a", stopped).orders()
	r.act(opStart, "a")
	if s := r.last[0].(startProcess); s.spec.Hash != "2" {
		t.Errorf("it starts with spec %s", s.spec.Hash)
	}
}

func TestChangedSpecRestartsWhatHadEnded(t *testing.T) {
	for _, from := range []phase{exited, fatal, backoff} {
		r := situations()[from](t).apply(specOf("a", changed)).is("a", starting).begin("a")
		r.applied(2, names(), names(), names("a"), names())
	}
}

func TestOnReload(t *testing.T) {
	restarts := func(s *config.Companion) { s.OnReload.Restart = true }
	signals := func(s *config.Companion) { s.OnReload.Signal = syscall.SIGHUP }
	r := newRig(t, specOf("leaves"), specOf("restarts", restarts), specOf("signals", signals)).up("leaves").up("restarts").up("signals")
	r.apply(specOf("leaves"), specOf("restarts", restarts), specOf("signals", signals)).orders() // no reload
	r.reload(specOf("leaves"), specOf("restarts", restarts), specOf("signals", signals))
	r.orders("SIGTERM to group restarts#1", "SIGHUP to signals#1")
	r.exit("restarts", exitStatus{}).begin("restarts")
	r.applied(3, names(), names(), names("restarts"), names("leaves", "signals"))

	t.Run("signal goes to processes only", func(t *testing.T) {
		r := newRig(t, specOf("a", signals))
		r.reload(specOf("a", signals)).orders() // ordered, not begun
		r.up("a").exit("a", crash).reload(specOf("a", signals)).orders()
	})
	t.Run("a change restarts whatever on_reload says", func(t *testing.T) {
		r := newRig(t, specOf("a", signals)).up("a")
		r.reload(specOf("a", signals, changed)).orders("SIGTERM to group a#1")
	})
}

func TestApplyDuringAnApplyAnswersBoth(t *testing.T) {
	r := newRig(t, specOf("a")).up("a").apply(specOf("a", changed)).unanswered(2)
	r.apply(specOf("a", func(s *config.Companion) { s.Hash = "3" }))
	r.applied(2, names(), names(), names("a"), names()).unanswered(3).orders()
	r.exit("a", exitStatus{}).begin("a").applied(3, names(), names(), names("a"), names())
	if h := r.get("a").live.Hash; h != "3" {
		t.Errorf("it runs spec %s", h)
	}
}

// A user's request that overtakes an apply does not leave its answer hanging.
func TestStopDuringAnApplyAnswersBoth(t *testing.T) {
	r := newRig(t, specOf("a")).up("a").apply(specOf("a", changed))
	id := r.act(opStop, "a")
	r.exit("a", exitStatus{}).is("a", stopped).answered(id, "done")
	r.applied(2, names(), names(), names("a"), names())
}

func TestShutdownDuringAnApplyAnswersIt(t *testing.T) {
	r := newRig(t, specOf("a"), specOf("b")).up("a").do(shutdownAsked{}).exit("a", exitStatus{})
	r.applied(1, names("a", "b"), names(), names(), names()).orders("finish")
}

// What the arbiter knows of instances that an earlier manager ran.
func TestRememberedInstances(t *testing.T) {
	at := epoch.Add(-time.Minute)
	exit := &control.Exit{At: at, Reason: control.ReasonExited}
	remembered := func(state, desired, hash string, exits int) link.Instance {
		return link.Instance{Companion: control.Companion{
			Name: "a", Instance: 1, State: state, Desired: desired, Hash: hash,
			Exits: exits, Restarts: 4, Failures: 3, StopKills: 2, LastExit: exit,
		}}
	}
	for _, tt := range []struct {
		name     string
		was      link.Instance
		to       phase
		failures int
		restarts int // once it has been begun
	}{
		{"was running", remembered(control.Stopped, control.Up, "1", 5), starting, 3, 5},
		{"was never begun", remembered(control.Stopped, control.Up, "1", 0), starting, 3, 4},
		{"stopped by hand", remembered(control.Stopped, control.Down, "1", 5), stopped, 3, 4},
		{"stopped by hand, changed", remembered(control.Stopped, control.Down, "0", 5), stopped, 0, 4},
		{"stopped by hand, last seen FATAL", remembered(control.Fatal, control.Down, "1", 5), stopped, 3, 4},
		{"exited", remembered(control.Exited, control.Up, "1", 5), exited, 3, 4},
		{"fatal", remembered(control.Fatal, control.Up, "1", 5), fatal, 3, 4},
		{"exited, changed", remembered(control.Exited, control.Up, "0", 5), starting, 0, 5},
		{"fatal, changed", remembered(control.Fatal, control.Up, "0", 5), starting, 0, 5},
		{"in backoff", remembered(control.Backoff, control.Up, "1", 5), starting, 3, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t).applyAll(link.Apply{Specs: []config.Companion{specOf("a")}, Remembered: []link.Instance{tt.was}})
			i := r.is("a", tt.to).get("a")
			if tt.to == starting {
				r.begin("a")
			}
			if i.failures.Failures != tt.failures || i.restarts != tt.restarts || i.exits != tt.was.Exits || i.stopKills != 2 || i.lastExit != exit {
				t.Errorf("%+v", i.view())
			}
			r.applied(1, names("a"), names(), names(), names())
		})
	}
	t.Run("the delays go on", func(t *testing.T) {
		r := newRig(t).applyAll(link.Apply{Specs: []config.Companion{specOf("a")}, Remembered: []link.Instance{remembered(control.Stopped, control.Up, "1", 5)}})
		r.begin("a").delays(1, 0)
		if d := attr(r.recorded("companion.backoff"), "delay"); d != 8*time.Second {
			t.Errorf("delay %v, want 8s", d)
		}
	})
	t.Run("taken out while there was no manager", func(t *testing.T) {
		second := remembered(control.Stopped, control.Up, "1", 1)
		second.Instance = 2
		other := remembered(control.Stopped, control.Up, "1", 1)
		other.Name = "b"
		r := newRig(t).applyAll(link.Apply{
			Specs:      []config.Companion{specOf("a")},
			Remembered: []link.Instance{remembered(control.Stopped, control.Up, "1", 1), second, other},
		})
		r.wants("start a#1", "a is STARTING", "a:2 is no more", "b is no more")
	})
}

func TestAutostartFalseWaitsForAStart(t *testing.T) {
	r := newRig(t, specOf("a", byHand)).is("a", stopped)
	r.wants("a is STOPPED", "INFO companions.applied", "applied 1")
	if d := r.get("a").view().Desired; d != control.Down {
		t.Errorf("desired %s", d)
	}
}
