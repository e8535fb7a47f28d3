package companion

import (
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
)

func TestStopSignalThenSIGKILLAfterTheWindow(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stop   func(*rig)
		window time.Duration
		cause  string
	}{
		{"stop", func(r *rig) { r.act(opStop, "a") }, time.Minute, causeStop},
		{"restart", func(r *rig) { r.act(opRestart, "a") }, 45 * time.Second, causeRestart},
		{"changed", func(r *rig) { r.apply(specOf("a", changed)) }, 45 * time.Second, causeReload},
		{"removed", func(r *rig) { r.apply() }, time.Minute, causeRemoved},
		{"shutdown", func(r *rig) { r.do(shutdownAsked{cause: causeShutdown}) }, time.Minute, causeShutdown},
		{"the arbiter is gone", func(r *rig) { r.do(shutdownAsked{cause: causeArbiter}) }, time.Minute, causeArbiter},
		{"quick shutdown", func(r *rig) { r.do(shutdownAsked{quick: true, cause: causeShutdown}) }, 5 * time.Second, causeShutdown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, specOf("a")).up("a")
			tt.stop(r)
			r.is("a", stopping).orders("SIGTERM to group a#1")
			rec := r.recorded("companion.stopping")
			if attr(rec, "cause") != tt.cause || attr(rec, "signal") != "SIGTERM" || attr(rec, "window") != tt.window {
				t.Errorf("%v", rec)
			}
			r.passTo(tt.window).wants("a is STOPPING", "WARN companion.killed", "SIGKILL to group a#1")
			r.pass(time.Hour).wants()
		})
	}
}

// The spec that counts is the one that the process was started with.
func TestWindowsAndSignalsAreThoseOfTheLivingProcess(t *testing.T) {
	r := newRig(t, specOf("a")).up("a")
	r.act(opStop, "a")
	r.apply(specOf("a", changed, func(s *config.Companion) { s.StopTimeout, s.StopSignal = time.Second, 3 }))
	r.pass(59 * time.Second).orders().pass(time.Second).orders("SIGKILL to group a#1")
}

func TestFurtherStopsKeepTheFirstSignalAndWindow(t *testing.T) {
	r := newRig(t, specOf("a")).up("a")
	r.act(opRestart, "a")
	r.pass(10 * time.Second)
	r.act(opStop, "a")
	r.orders().pass(10 * time.Second)
	r.act(opRestart, "a")
	r.orders().apply(specOf("a", changed)).orders().apply().orders()
	r.do(shutdownAsked{cause: causeShutdown}).orders()
	r.passTo(25 * time.Second).orders("SIGKILL to group a#1")
}

func TestSecondShutdownIsQuick(t *testing.T) {
	r := newRig(t, specOf("a")).up("a").do(shutdownAsked{cause: causeShutdown})
	r.pass(10 * time.Second).do(shutdownAsked{quick: true}).orders()
	r.passTo(5 * time.Second).orders("SIGKILL to group a#1")

	t.Run("but never longer than the first", func(t *testing.T) {
		r := newRig(t, specOf("a")).up("a").do(shutdownAsked{})
		r.pass(58 * time.Second).do(shutdownAsked{quick: true}).do(shutdownAsked{})
		r.passTo(2 * time.Second).orders("SIGKILL to group a#1")
	})
}

func TestShutdownEndsEveryStateAndFinishesWhenNothingLives(t *testing.T) {
	never := func(s *config.Companion) { s.Autorestart = config.RestartNever }
	r := newRig(t,
		specOf("backoff"), specOf("down", byHand), specOf("exited", never),
		specOf("ordered"), specOf("restarting"), specOf("running"), specOf("starting"))
	r.up("backoff").exit("backoff", crash).up("exited").exit("exited", crash)
	r.up("restarting").up("running").begin("starting")
	r.act(opRestart, "restarting")
	r.do(shutdownAsked{cause: causeShutdown}).orders("SIGTERM to group running#1", "SIGTERM to group starting#1")
	r.is("backoff", stopped).is("ordered", stopped).is("exited", exited).is("down", stopped)
	r.exit("running", exitStatus{}).orders()
	r.exit("starting", exitStatus{}).orders()
	r.exit("restarting", exitStatus{}).is("restarting", stopped).orders("finish")
	r.pass(time.Hour).orders()
	if r.core.due(r.get("ordered").id()) {
		t.Error("an ordered start is still due")
	}
}

func TestShutdownOfNothingFinishesAtOnce(t *testing.T) {
	newRig(t).do(shutdownAsked{}).wants("finish")
	newRig(t).do(shutdownAsked{}).do(shutdownAsked{quick: true}).wants()
}

func TestNothingStartsAfterShutdown(t *testing.T) {
	r := newRig(t, specOf("a"), specOf("b")).up("a").up("b").do(shutdownAsked{})
	for _, op := range []string{opStart, opStop, opRestart, opSignal} {
		r.answered(r.act(op, "a"), "conflict: gofork is stopping").orders()
	}
	r.apply(specOf("a", changed), specOf("c")).wants("applied 2")
	r.exit("a", crash).orders().exit("b", crash).orders("finish")
	r.apply(specOf("c")).wants("applied 3")
}

// A wait that spans the shutdown learns what became of it.
func TestShutdownAnswersWhoWaits(t *testing.T) {
	r := newRig(t, specOf("a", byHand), specOf("b"), specOf("c")).up("b").up("c")
	start, stop, restart := r.act(opStart, "a"), r.act(opStop, "b"), r.act(opRestart, "c")
	r.begin("a").do(shutdownAsked{cause: causeShutdown})
	r.answered(start, "conflict: cannot start a: gofork is stopping").answered(restart, "conflict: cannot restart c: gofork is stopping")
	r.answered(stop, "").exit("b", exitStatus{}).answered(stop, "done")
}

func TestRecyclingAfterMaxLifetimeAndItsJitter(t *testing.T) {
	r := newRig(t, specOf("a", func(s *config.Companion) { s.MaxLifetime, s.MaxLifetimeJitter = time.Hour, 10*time.Minute }))
	r.up("a").pass(time.Hour + 5*time.Minute - 1).orders() // 0.5 of the jitter
	r.pass(1).is("a", stopping).orders("SIGTERM to group a#1")
	r.exit("a", exitStatus{}).orders("start a#2")
	r.core.random = func() float64 { return 0 }
	r.up("a").passTo(time.Hour).is("a", stopping)
	if d := r.get("a").view().Desired; d != "up" {
		t.Errorf("desired %s while it is recycled", d)
	}
}

// A lifetime that is over before startsecs waits for them.
func TestRecyclingWaitsForRunning(t *testing.T) {
	r := newRig(t, specOf("a", func(s *config.Companion) { s.MaxLifetime = time.Second / 2 }))
	r.begin("a").pass(time.Second/2).is("a", starting).pass(time.Second/2).is("a", running)
	if at := r.core.earliest(); at.After(r.now) {
		t.Errorf("the next look is at %v", at)
	}
	r.pass(0).is("a", stopping)
}
