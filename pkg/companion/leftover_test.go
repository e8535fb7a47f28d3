package companion

import (
	"fmt"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
)

// A leader that dies may leave members of its group behind. They are asked to
// end at once, and nothing of the next attempt begins before they have.

func TestMembersThatOutliveACrashGetTheirSignalAtOnce(t *testing.T) {
	r := newRig(t, specOf("a")).up("a").exitLeaving("a", crash)
	r.is("a", backoff).orders("SIGTERM to group a#1")
	r.pass(time.Second).is("a", backoff).orders() // the delay is over, they live
	if at := r.get("a").view().NextRetryAt; at != nil {
		t.Errorf("the next start is shown for %v; it waits for the group", at)
	}
	r.passTo(59 * time.Second).orders("SIGKILL to group a#1")
	if at := r.core.earliest(); !at.IsZero() {
		t.Errorf("there is nothing left to do at %v", at)
	}
	r.pass(time.Hour).orders()
	r.gone("a").is("a", starting).orders("start a#2")
}

func TestMembersThatListenMakeNobodyWait(t *testing.T) {
	r := newRig(t, specOf("a")).up("a").exitLeaving("a", crash)
	r.pass(time.Second/2).gone("a").is("a", backoff).orders()
	r.passTo(time.Second/2).is("a", starting).orders("start a#2")
}

func TestMembersAreWaitedForWithoutADelay(t *testing.T) {
	r := newRig(t, specOf("a", func(s *config.Companion) { s.BackoffInitial = 0 })).up("a").exitLeaving("a", crash)
	r.is("a", backoff).orders("SIGTERM to group a#1")
	r.pass(0).orders()
	r.gone("a").orders("start a#2")
}

// SIGTERM went to all of the group; only the window counts from then on.
func TestMembersThatIgnoreAStopAreKilledAtTheEndOfItsWindow(t *testing.T) {
	r := newRig(t, specOf("a")).up("a")
	id := r.act(opStop, "a")
	r.orders("SIGTERM to group a#1")
	r.pass(10*time.Second).exitLeaving("a", exitStatus{}).is("a", stopping).orders()
	r.answered(id, "")
	r.passTo(50 * time.Second).orders("SIGKILL to group a#1")
	r.answered(id, "").gone("a").is("a", stopped).answered(id, "done")
	if k := r.get("a").stopKills; k != 1 {
		t.Errorf("%d stop kills, want 1", k)
	}
}

func TestStopGroupFalseAsksTheLeaderFirstAndMembersAfterIt(t *testing.T) {
	r := newRig(t, specOf("a", func(s *config.Companion) { s.StopGroup = false })).up("a")
	r.act(opStop, "a")
	r.orders("SIGTERM to a#1")
	r.pass(time.Second).exitLeaving("a", exitStatus{}).orders("SIGTERM to group a#1")
	r.passTo(59 * time.Second).orders("SIGKILL to group a#1")
	r.gone("a").is("a", stopped)

	t.Run("SIGKILL reaches the group", func(t *testing.T) {
		r := newRig(t, specOf("a", func(s *config.Companion) { s.StopGroup = false })).up("a")
		r.act(opStop, "a")
		r.pass(time.Minute).orders("SIGKILL to group a#1").exitLeaving("a", exitStatus{signal: 9}).orders()
	})
	t.Run("a crash", func(t *testing.T) {
		r := newRig(t, specOf("a", func(s *config.Companion) { s.StopGroup = false })).up("a")
		r.exitLeaving("a", crash).orders("SIGTERM to group a#1")
	})
}

func TestEndsWithoutARestartClearUpToo(t *testing.T) {
	for _, tt := range []struct {
		to   phase
		spec func(*config.Companion)
	}{
		{exited, func(s *config.Companion) { s.Autorestart = config.RestartNever }},
		{fatal, func(s *config.Companion) { s.Startretries, s.BackoffInitial = 1, 0 }},
	} {
		t.Run(string(tt.to), func(t *testing.T) {
			leave := func() *rig {
				r := newRig(t, specOf("a", tt.spec)).up("a")
				if tt.to == fatal {
					r.exit("a", crash).up("a")
				}
				return r.exitLeaving("a", crash).is("a", tt.to)
			}
			t.Run("killed", func(t *testing.T) {
				r := leave().passTo(time.Minute)
				r.is("a", tt.to).gone("a").is("a", tt.to)
				if v := r.get("a").view(); v.Group != 0 {
					t.Errorf("group %d is still shown", v.Group)
				}
			})
			t.Run("started again", func(t *testing.T) {
				r := leave()
				id := r.act(opStart, "a")
				r.is("a", stopping).orders() // their signal was sent, their window runs
				r.passTo(time.Minute).gone("a").is("a", starting)
				r.up("a").answered(id, "done")
			})
			t.Run("stopped", func(t *testing.T) {
				r := leave().pass(10 * time.Second)
				id := r.act(opStop, "a")
				r.is("a", stopping).answered(id, "").passTo(50 * time.Second)
				r.gone("a").is("a", stopped).answered(id, "done")
			})
			t.Run("removed", func(t *testing.T) {
				r := leave().apply().is("a", stopping)
				r.gone("a")
				if r.find("a") != nil {
					t.Error("it is still there")
				}
			})
			t.Run("shutdown", func(t *testing.T) {
				r := leave().do(shutdownAsked{quick: true}).orders()
				r.passTo(5 * time.Second).orders("SIGKILL to group " + fmt.Sprintf("a#%d", r.get("a").attempt))
				r.gone("a").is("a", stopped).orders("finish")
			})
		})
	}
}

func TestBackoffWithMembersCanBeHurried(t *testing.T) {
	r := newRig(t, specOf("a")).up("a").exitLeaving("a", crash).pass(2 * time.Second)
	id := r.act(opStart, "a")
	r.is("a", stopping).orders()
	r.passTo(58 * time.Second).orders("SIGKILL to group a#1")
	r.gone("a").is("a", starting).up("a").answered(id, "done")
}

// SIGKILL was sent and the window is over: a later stop has nothing to add.
func TestStopOfMembersThatWereKilledOnlyWaits(t *testing.T) {
	r := newRig(t, specOf("a")).up("a").exitLeaving("a", crash).pass(time.Minute).orders("SIGKILL to group a#1")
	id := r.act(opStop, "a")
	r.is("a", stopping).orders().pass(time.Hour).orders()
	r.gone("a").is("a", stopped).answered(id, "done")
}
