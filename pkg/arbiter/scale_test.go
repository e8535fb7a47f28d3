package arbiter

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
)

func TestScaling(t *testing.T) {
	for _, tt := range []struct {
		name       string
		count      int
		e          scaleAsked
		want       int
		refused    string
		wantOrders string
	}{
		{"up", 2, scaleAsked{to: 4}, 4, "", "start 3.1 generation 1, start 4.1 generation 1"},
		{"down", 3, scaleAsked{to: 1}, 1, "", "SIGTERM 2.1, SIGTERM 3.1"},
		{"one more", 1, scaleAsked{delta: 1}, 2, "", "start 2.1 generation 1"},
		{"one less", 2, scaleAsked{delta: -1}, 1, "", "SIGTERM 2.1"},
		{"to the same", 2, scaleAsked{to: 2}, 2, "", ""},
		{"a request for less than one", 1, scaleAsked{delta: -1}, 1, "there must be at least 1", ""},
		{"a request for too many", 2, scaleAsked{to: 1025}, 2, "there can be at most 1024", ""},
		{"a request for far more", 2, scaleAsked{delta: math.MaxInt}, 2, "there can be at most 1024", ""},
		{"a request for far less", 2, scaleAsked{delta: -9}, 2, "there must be at least 1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serving(t, configOf(tt.count))
			tt.e.token = 1
			r.do(tt.e).answered(1, tt.refused)
			if got := strings.Join(said(r.last), ", "); got != tt.wantOrders {
				t.Errorf("orders %q, want %q", got, tt.wantOrders)
			}
			if r.core.count != tt.want {
				t.Errorf("count %d, want %d", r.core.count, tt.want)
			}
		})
	}
}

func TestASignalStopsAtTheBounds(t *testing.T) {
	r := serving(t, configOf(1))
	r.do(scaleAsked{delta: -1, by: "SIGTTOU"}).orders()
	r.logs("workers.scaled", slog.LevelWarn, "old", "1", "new", "1", "by", "SIGTTOU", "reason", "cannot scale to 0 workers: there must be at least 1")
	if r.core.count != 1 {
		t.Errorf("count %d", r.core.count)
	}
	r.scale(config.MaxWorkers, 0)
	r.do(scaleAsked{delta: 1, by: "SIGTTIN"}).orders()
	r.logs("workers.scaled", slog.LevelWarn, "old", "1024", "new", "1024", "by", "SIGTTIN", "reason", "cannot scale to 1025 workers: there can be at most 1024")
	if r.core.count != config.MaxWorkers {
		t.Errorf("count %d", r.core.count)
	}
}

func TestScalingIsRefusedWithoutWorkersAndWhileStopping(t *testing.T) {
	r := serving(t, configOf(0, companions("job")))
	r.answered(r.scale(2, 0), "no [worker] table")
	r = serving(t, configOf(1)).stop(false)
	r.answered(r.scale(2, 0), "gofork is stopping")
}

func TestScalingIsTold(t *testing.T) {
	r := serving(t, configOf(2, hooks("nworkers_changed")))
	r.scale(3, 0)
	r.logs("workers.scaled", slog.LevelInfo, "old", "2", "new", "3", "by", "request")
	if env, _ := r.hasHook("nworkers_changed"); strings.Join(env, " ") != "GOFORK_WORKERS_OLD=2 GOFORK_WORKERS_NEW=3" {
		t.Errorf("%q", env)
	}
	for _, a := range r.last {
		if a, ok := a.(reply); ok {
			if w := a.value.(*control.Workers); w.Configured != 3 || w.Ready != 2 {
				t.Errorf("%+v", w)
			}
		}
	}
}

func TestASurplusWorkerThatCrashesIsNotReplaced(t *testing.T) {
	r := serving(t, configOf(2))
	r.scale(1, 0)
	r.exit("2.1", crash).orders()
	r.pass(time.Hour).orders()
}

func TestASurplusSlotInBackoffIsForgotten(t *testing.T) {
	r := serving(t, configOf(2)).exit("2.1", crash).exit("2.2", crash)
	r.scale(1, 0)
	r.pass(time.Hour).orders()
	r.scale(2, 0)
	r.orders("start 2.3 generation 1")
}

func TestAScaleStartsNobodyBesideAWorkerThatAClockEnds(t *testing.T) {
	r := serving(t, configOf(2)).beat("1.1").pass(30*time.Second).is("1.1", aborting)
	r.scale(3, 0)
	r.orders("start 3.1 generation 1")
	r.exit("1.1", byKill).orders("start 1.2 generation 1")
}

func TestASlotThatComesBackMayDrainStill(t *testing.T) {
	r := serving(t, configOf(2))
	r.scale(1, 0)
	r.scale(2, 0)
	r.orders("start 2.2 generation 1").exit("2.1", exitedOK).orders()
	r.shows("1.1 generation 1 ready", "2.2 generation 1 booting")
}

func TestStartsThatAreGivenUpHoldUpNobody(t *testing.T) {
	r := serving(t, configOf(1))
	r.scale(500, 0)
	r.scale(1, 0)
	r.drained().pass(time.Second)
	r.exit("1.1", crash).orders("start 1.2 generation 1")
	r.ready("1.2").reload(configOf(1))
	r.orders("start 1.3 generation 2")
}

func TestADeadWorkerIsReplacedBeforeSuccessorsStart(t *testing.T) {
	r := serving(t, configOf(3*paceBurst))
	r.reload(configOf(3 * paceBurst))
	last := 3 * paceBurst
	r.exit(fmt.Sprintf("%d.1", last), crash).orders()
	r.passTo(paceInterval).orders(fmt.Sprintf("start %d.2 generation 1", last))
}
