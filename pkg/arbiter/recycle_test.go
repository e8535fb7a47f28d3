package arbiter

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
)

// wants has a worker ask for its replacement, as max_requests does.
func (r *rig) wants(attempt string) *rig {
	return r.do(workerSaid{id: idOf(attempt), recycle: "max_requests"})
}

func TestARecycledWorkerIsReplacedFirst(t *testing.T) {
	r := serving(t, configOf(2)).wants("1.1")
	r.orders("start 1.2 generation 1").logs("worker.recycled", slog.LevelInfo, "reason", "max_requests").is("1.1", ready)
	r.ready("1.2").orders("SIGTERM 1.1")
	r.exit("1.1", exitedOK).logs("worker.exited", slog.LevelInfo, "reason", "recycled").orders()
	r.shows("1.2 generation 1 ready", "2.1 generation 1 ready")
}

func TestOnlySomeAreRecycledAtATime(t *testing.T) {
	for _, tt := range []struct{ count, budget int }{{1, 1}, {4, 1}, {20, 2}, {39, 3}} {
		t.Run(fmt.Sprint(tt.count), func(t *testing.T) {
			r := serving(t, configOf(tt.count))
			for n := 1; n <= tt.count; n++ {
				r.wants(fmt.Sprintf("%d.1", n))
			}
			rounds := 0
			for ; ; rounds++ {
				if got := r.live() - tt.count; got > tt.budget {
					t.Fatalf("%d are replaced at the same time, want %d", got, tt.budget)
				} else if got == 0 {
					break
				}
				r.pass(time.Duration(tt.budget) * paceInterval).allReady()
				if got := r.live() - tt.count; got > tt.budget {
					t.Fatalf("%d are on the way, want %d", got, tt.budget)
				}
				r.drained()
			}
			for _, s := range r.core.slots {
				if s.attempts != 2 {
					t.Errorf("slot %d had %d attempts", s.number, s.attempts)
				}
			}
			if rounds < tt.count/tt.budget {
				t.Errorf("%d rounds", rounds)
			}
		})
	}
}

func TestAWorkerLivesForMaxLifetimeAndItsJitter(t *testing.T) {
	r := newRig(t, configOf(1, func(c *config.Config) {
		c.Worker.MaxLifetime, c.Worker.MaxLifetimeJitter = time.Hour, 10*time.Minute
	})).ready("1.1")
	r.passTo(65*time.Minute).orders("start 1.2 generation 1").logs("worker.recycled", slog.LevelInfo, "reason", "max_lifetime")
}

func TestAWorkerOverMaxMemoryIsReplaced(t *testing.T) {
	r := newRig(t, configOf(1, func(c *config.Config) { c.Worker.MaxMemory = 100 })).ready("1.1")
	measure := func() (n int) {
		for _, a := range r.last {
			if _, ok := a.(measureWorker); ok {
				n++
			}
		}
		return n
	}
	r.pass(measureInterval - 1)
	if measure() != 0 {
		t.Error("measured early")
	}
	r.pass(1)
	if measure() != 1 {
		t.Error("not measured")
	}
	r.do(workerMeasured{idOf("1.1"), 100}).orders()
	r.pass(measureInterval)
	r.do(workerMeasured{idOf("1.1"), 101}).orders("start 1.2 generation 1").logs("worker.recycled", slog.LevelInfo, "reason", "max_memory")
}

func TestASuccessorThatFailsLeavesTheOldOneInService(t *testing.T) {
	const s = time.Second
	r := serving(t, configOf(1)).wants("1.1")
	for n, want := range []time.Duration{s, s, 2 * s, 4 * s} {
		r.exit(fmt.Sprintf("1.%d", n+2), crash).is("1.1", ready).logs("worker.backoff", slog.LevelWarn, "delay", want.String())
		r.passTo(want).orders(fmt.Sprintf("start 1.%d generation 1", n+3))
	}
	r.ready("1.6").orders("SIGTERM 1.1")
}

func TestASuccessorThatDoesNotBootStartsNobodyElse(t *testing.T) {
	r := serving(t, configOf(1)).wants("1.1").passTo(time.Minute).orders("SIGKILL group 1.2")
	r.exit("1.2", byKill).orders().passTo(time.Second).orders("start 1.3 generation 1")
}

func TestAnOldWorkerThatDiesLeavesItsPlaceToItsSuccessor(t *testing.T) {
	r := serving(t, configOf(1)).wants("1.1").exit("1.1", crash).orders()
	r.ready("1.2").shows("1.2 generation 1 ready").orders()
	r.exit("1.2", crash).orders("start 1.3 generation 1")
}

func TestAWorkerThatDiedIsNotRecycled(t *testing.T) {
	r := serving(t, configOf(2)).wants("1.1").wants("2.1") // 2 waits for its turn
	r.exit("2.1", crash).ready("2.2", "1.2").exit("1.1", exitedOK).orders()
	r.shows("1.2 generation 1 ready", "2.2 generation 1 ready")
}

func TestASuccessorThatWaitsForItsTurnGoesWithTheWorkerThatDies(t *testing.T) {
	r := serving(t, configOf(1)).exit("1.1", crash).ready("1.2")
	r.scale(paceBurst, 0) // nobody else may start at once
	r.allReady().wants("1.2").orders()
	r.exit("1.2", crash).orders().passTo(time.Second).orders("start 1.3 generation 1")
	r.ready("1.3").pass(time.Hour).orders()
}

func TestAReloadReplacesWhoWasToBeRecycled(t *testing.T) {
	r := serving(t, configOf(2)).wants("1.1")
	r.reload(configOf(2))
	r.orders("SIGTERM 1.2", "start 1.3 generation 2")
	r.exit("1.2", exitedOK).orders("start 2.2 generation 2")
	r.allReady().drained().shows("1.3 generation 2 ready", "2.2 generation 2 ready")
}

func TestASuccessorThatAsksToBeRecycledIsOnceItServes(t *testing.T) {
	r := serving(t, configOf(2))
	r.reload(configOf(2))
	r.ready("1.2").wants("1.2").orders() // it serves already, and asks once
	r.ready("2.2").orders("SIGTERM 1.1", "SIGTERM 2.1").drained().orders("start 1.3 generation 2")
}

func TestNobodyIsRecycledDuringAStop(t *testing.T) {
	r := serving(t, configOf(1, func(c *config.Config) { c.Server.ShutdownDelay = time.Minute })).stop(false)
	r.wants("1.1").orders()
}

func TestNothingIsTriedAgainDuringAStop(t *testing.T) {
	r := serving(t, configOf(1)).wants("1.1").pass(time.Minute) // its successor did not boot, and is killed
	r.stop(false).exit("1.2", byKill).notLogged("worker.backoff")
	if at := r.core.earliest(); at != r.now.Add(30*time.Second) {
		t.Errorf("the next look is at %v, want the end of the stop window", at.Sub(r.now))
	}
}
