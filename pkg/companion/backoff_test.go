package companion

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
)

// delays lets the companion crash n times, each after it was up for that long,
// and returns how long each restart waited.
func (r *rig) delays(n int, up time.Duration) []time.Duration {
	r.t.Helper()
	var out []time.Duration
	for range n {
		r.now = r.now.Add(up)
		r.do(timePassed{}).exit("a", crash)
		i := r.is("a", backoff).get("a")
		d := i.deadline.Sub(r.now)
		if got := attr(r.recorded("companion.backoff"), "delay"); got != d {
			r.t.Errorf("the record says %v, the deadline %v", got, d)
		}
		r.passTo(d).is("a", starting).begin("a")
		out = append(out, d)
	}
	return out
}

func seconds(n ...int) []time.Duration {
	out := make([]time.Duration, len(n))
	for i, s := range n {
		out[i] = time.Duration(s) * time.Second
	}
	return out
}

func TestRestartsWait1_2_4_8_16_30_30Seconds(t *testing.T) {
	r := newRig(t, specOf("a")).begin("a")
	if got, want := r.delays(7, 0), seconds(1, 2, 4, 8, 16, 30, 30); !slices.Equal(got, want) {
		t.Errorf("delays %v, want %v", got, want)
	}
}

func TestStartsThatFailWaitAsCrashesDo(t *testing.T) {
	r := newRig(t, specOf("a"))
	for _, want := range seconds(1, 2, 4, 8, 16, 30, 30) {
		r.exit("a", exitStatus{code: 127, startError: "cannot start a"})
		if got := r.get("a").deadline.Sub(r.now); got != want {
			t.Errorf("delay %v, want %v", got, want)
		}
		r.passTo(want).is("a", starting)
		r.now = r.now.Add(time.Hour) // the order may wait; that is no time up
	}
}

func TestDelaysBeginAnewAfterBackoffResetUp(t *testing.T) {
	r := newRig(t, specOf("a")).begin("a")
	r.delays(3, 0)
	if got, want := r.delays(1, 30*time.Second-1), seconds(8); !slices.Equal(got, want) {
		t.Errorf("one nanosecond before backoff_reset: %v, want %v", got, want)
	}
	if got, want := r.delays(2, 30*time.Second), seconds(1, 1); !slices.Equal(got, want) {
		t.Errorf("after backoff_reset: %v, want %v", got, want)
	}
}

// Status must not show failures of last week beside a companion that is well.
func TestFailuresShownAreForgottenAfterBackoffResetUp(t *testing.T) {
	r := newRig(t, specOf("a")).begin("a")
	r.delays(2, 0)
	r.do(readyReceived{r.get("a").id()})
	r.pass(30*time.Second - 1)
	if i := r.get("a"); i.failures.Failures != 2 {
		t.Fatalf("%d failures one nanosecond before", i.failures.Failures)
	}
	r.pass(1).wants("a is RUNNING")
	if i := r.get("a"); i.failures.Failures != 0 {
		t.Errorf("%d failures", i.failures.Failures)
	}
	if at := r.core.earliest(); !at.IsZero() {
		t.Errorf("a companion that is well wants to be looked at, at %v", at)
	}
}

func TestDelaysBeginAnewWhenSomebodyActs(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*rig)
	}{
		{"start", func(r *rig) { r.act(opStart, "a") }},
		{"restart", func(r *rig) { r.act(opRestart, "a") }},
		{"stop, start", func(r *rig) { r.act(opStop, "a"); r.act(opStart, "a") }},
		{"changed spec", func(r *rig) { r.apply(specOf("a", changed)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, specOf("a")).begin("a")
			r.delays(3, 0)
			r.exit("a", crash).is("a", backoff)
			tt.do(r)
			r.is("a", starting).begin("a")
			if got, want := r.delays(2, 0), seconds(1, 2); !slices.Equal(got, want) {
				t.Errorf("delays %v, want %v", got, want)
			}
		})
	}
	t.Run("restart of one that is up", func(t *testing.T) {
		r := newRig(t, specOf("a")).begin("a")
		r.delays(3, 0)
		r.act(opRestart, "a")
		r.exit("a", crash).begin("a")
		if got, want := r.delays(1, 0), seconds(1); !slices.Equal(got, want) {
			t.Errorf("delays %v, want %v", got, want)
		}
	})
}

// Nobody has acted: neither an unchanged reload nor a recycling is a fresh start.
func TestDelaysGoOnWhenNobodyActs(t *testing.T) {
	r := newRig(t, specOf("a", func(s *config.Companion) { s.MaxLifetime = 5 * time.Second })).begin("a")
	r.delays(3, 0)
	r.apply(specOf("a", func(s *config.Companion) { s.MaxLifetime = 5 * time.Second }))
	r.pass(time.Second).pass(4*time.Second).is("a", stopping).exit("a", crash).is("a", starting).begin("a")
	if got, want := r.delays(1, 0), seconds(8); !slices.Equal(got, want) {
		t.Errorf("delays %v, want %v", got, want)
	}
}

func TestJitterSpreadsDelays(t *testing.T) {
	r := newRig(t, specOf("a", func(s *config.Companion) { s.BackoffJitter = 0.5 }))
	r.core.random = func() float64 { return 0 }
	r.begin("a")
	if got := r.delays(1, 0); got[0] != time.Second/2 {
		t.Errorf("delay %v, want 0.5s", got[0])
	}
}

func TestBackoffInitial0RestartsAtOnceEveryTime(t *testing.T) {
	r := newRig(t, specOf("a", func(s *config.Companion) { s.BackoffInitial = 0 }))
	for n := 1; n < 12; n++ {
		r.begin("a").exit("a", crash)
		r.wants("a is STARTING", "ERROR companion.exited", fmt.Sprintf("start a#%d", n+1))
		if got := r.get("a").failures.Failures; got != n {
			t.Errorf("%d failures, want %d", got, n)
		}
	}
}

func TestStartretriesEndInFatal(t *testing.T) {
	for _, retries := range []int{1, 3} {
		r := newRig(t, specOf("a", func(s *config.Companion) { s.Startretries = retries })).begin("a")
		r.delays(retries, 0) // as many restarts as that
		r.exit("a", crash).is("a", fatal)
		r.wants("a is FATAL", "ERROR companion.exited", "ERROR companion.fatal")
		rec := r.recorded("companion.fatal")
		if attr(rec, "failures") != int64(retries+1) || attr(rec, "reason") != "exited with code 1" || rec.output.name != "a" {
			t.Errorf("%v", rec)
		}
		if !r.core.earliest().IsZero() {
			t.Error("a FATAL companion has a deadline")
		}
		r.act(opStart, "a")
		r.is("a", starting).begin("a").delays(retries, 0)
	}
	t.Run("0 never gives up", func(t *testing.T) {
		newRig(t, specOf("a")).begin("a").delays(50, 0)
	})
	t.Run("at once", func(t *testing.T) {
		r := newRig(t, specOf("a", func(s *config.Companion) { s.Startretries, s.BackoffInitial = 2, 0 }))
		r.begin("a").exit("a", crash).begin("a").exit("a", crash).begin("a").exit("a", crash).is("a", fatal)
	})
	t.Run("up for long in between", func(t *testing.T) {
		r := newRig(t, specOf("a", func(s *config.Companion) { s.Startretries = 1 })).begin("a")
		r.delays(5, 30*time.Second)
	})
}
