package restart

import (
	"encoding/json"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noRandom fails the test when a delay without jitter asks for randomness.
func noRandom(t testing.TB) func() float64 {
	return func() float64 {
		t.Helper()
		t.Error("random was called without a jitter")
		return 0
	}
}

func delays(t testing.TB, p Policy, n int) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = p.Delay(i+1, noRandom(t))
	}
	return out
}

func TestDelaysAreTheFormulas(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name string
		p    Policy
		want []time.Duration
	}{
		{"companion defaults", Policy{Initial: s, Max: 30 * s}, []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s, 30 * s}},
		{"worker", Policy{Initial: s, Max: 30 * s, Immediate: true}, []time.Duration{0, s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s}},
		{"initial 0 is at once every time", Policy{Max: 30 * s}, []time.Duration{0, 0, 0, 0}},
		{"initial above max", Policy{Initial: 60 * s, Max: 30 * s}, []time.Duration{30 * s, 30 * s, 30 * s}},
		{"max is a power of the initial", Policy{Initial: s, Max: 8 * s}, []time.Duration{s, 2 * s, 4 * s, 8 * s, 8 * s}},
		{"odd nanoseconds", Policy{Initial: 3, Max: 13}, []time.Duration{3, 6, 12, 13, 13}},
		{"max 0", Policy{Initial: s}, []time.Duration{0, 0}},
		{"negative is as 0", Policy{Initial: -s, Max: -s}, []time.Duration{0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := delays(t, tt.p, len(tt.want)); !slices.Equal(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		})
	}
}

func TestDelayBelowOneFailureIsTheFirst(t *testing.T) {
	p := Policy{Initial: time.Second, Max: time.Minute}
	for _, n := range []int{0, -1, math.MinInt} {
		if got := p.Delay(n, noRandom(t)); got != time.Second {
			t.Errorf("Delay(%d) = %v, want 1s", n, got)
		}
	}
}

// formula is min(Initial × 2^(n-1), Max) in whole numbers of any size.
func formula(p Policy, n int) time.Duration {
	if p.Immediate {
		n--
	}
	if n == 0 {
		return 0
	}
	v := new(big.Int).Lsh(big.NewInt(int64(p.Initial)), uint(min(n-1, 200)))
	if limit := big.NewInt(int64(p.Max)); v.Cmp(limit) > 0 {
		v = limit
	}
	return time.Duration(v.Int64())
}

func policies(limit time.Duration, jitter bool) *rapid.Generator[Policy] {
	return rapid.Custom(func(t *rapid.T) Policy {
		p := Policy{
			Initial:   time.Duration(rapid.Int64Range(0, int64(limit)).Draw(t, "initial")),
			Max:       time.Duration(rapid.Int64Range(0, int64(limit)).Draw(t, "max")),
			Reset:     time.Duration(rapid.Int64Range(0, int64(limit)).Draw(t, "reset")),
			Immediate: rapid.Bool().Draw(t, "immediate"),
		}
		if jitter {
			p.Jitter = rapid.Float64Range(0, 1).Draw(t, "jitter")
		}
		return p
	})
}

var counts = rapid.OneOf(rapid.IntRange(1, 100), rapid.IntRange(1, math.MaxInt))

func TestDelayIsExactForAnyPolicyAndCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := policies(1<<53, false).Draw(t, "policy")
		n := counts.Draw(t, "failures")
		if got, want := p.Delay(n, nil), formula(p, n); got != want {
			t.Fatalf("Delay(%d) = %d, want %d", n, got, want)
		}
	})
}

func TestDelayStaysInsideItsJitterAndNeverPassesMax(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := policies(math.MaxInt64, true).Draw(t, "policy")
		n := counts.Draw(t, "failures")
		r := rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "random")
		got := p.Delay(n, func() float64 { return r })
		if got < 0 || got > p.Max {
			t.Fatalf("Delay(%d) = %d is outside 0 … %d", n, got, p.Max)
		}
		d := float64(formula(p, n))
		slack := 2 + d/(1<<50) // a nanosecond of rounding, and float64 beyond 2^53
		if f := float64(got); f < d*(1-p.Jitter)-slack || f > d*(1+p.Jitter)+slack {
			t.Fatalf("Delay(%d) = %v is further than %v from %v", n, got, p.Jitter, time.Duration(d))
		}
	})
}

func TestJitterSpreadsBothWaysAndDoesNotPileUpAtMax(t *testing.T) {
	p := Policy{Initial: time.Second, Max: 4 * time.Second, Jitter: 0.5}
	at := func(n int, r float64) time.Duration { return p.Delay(n, func() float64 { return r }) }
	for _, tt := range []struct {
		n    int
		r    float64
		want time.Duration
	}{
		{1, 0, 500 * time.Millisecond},
		{1, 0.5, time.Second},
		{1, 0.75, 1250 * time.Millisecond},
		{9, 0, 2 * time.Second},
		{9, 0.5, 3 * time.Second},
		{9, 0.75, 3500 * time.Millisecond},
	} {
		if got := at(tt.n, tt.r); got != tt.want {
			t.Errorf("Delay(%d) at random %v = %v, want %v", tt.n, tt.r, got, tt.want)
		}
	}
}

func TestJitterOutsideItsRangeIsHarmless(t *testing.T) {
	for _, j := range []float64{-1, math.NaN(), 7, math.Inf(1)} {
		p := Policy{Initial: time.Second, Max: 30 * time.Second, Jitter: j}
		if got := p.Delay(3, func() float64 { return 0.999 }); got < 0 || got > p.Max {
			t.Errorf("jitter %v: Delay(3) = %v", j, got)
		}
	}
}

func TestFailuresAreForgottenAfterResetUpAndNotOneNanosecondEarlier(t *testing.T) {
	p := Policy{Initial: time.Second, Max: 30 * time.Second, Reset: 30 * time.Second}
	var c Counter
	for i, tt := range []struct {
		up       time.Duration
		delay    time.Duration
		failures int
	}{
		{0, 1 * time.Second, 1},
		{0, 2 * time.Second, 2},
		{30*time.Second - 1, 4 * time.Second, 3},
		{30 * time.Second, 1 * time.Second, 1},
		{time.Second, 2 * time.Second, 2},
	} {
		if got := c.Failed(p, tt.up, noRandom(t)); got != tt.delay || c.Failures != tt.failures {
			t.Errorf("step %d: delay %v, failures %d, want %v, %d", i, got, c.Failures, tt.delay, tt.failures)
		}
	}
	c.Reset()
	if got := c.Failed(p, 0, noRandom(t)); got != time.Second {
		t.Errorf("after Reset: delay %v, want 1s", got)
	}
}

func TestCounterDoesNotOverflow(t *testing.T) {
	c := Counter{Failures: math.MaxInt}
	p := Policy{Initial: time.Second, Max: 30 * time.Second, Reset: time.Hour}
	if got := c.Failed(p, 0, noRandom(t)); got != 30*time.Second || c.Failures != math.MaxInt {
		t.Errorf("delay %v, failures %d", got, c.Failures)
	}
}

// The state of a child outlives the supervisor's process image: the delays go
// on where they were.
func TestCounterGoesOnAfterEncoding(t *testing.T) {
	p := Policy{Initial: time.Second, Max: 30 * time.Second, Reset: time.Minute}
	rapid.Check(t, func(t *rapid.T) {
		var kept, moved Counter
		for range rapid.IntRange(1, 10).Draw(t, "steps") {
			up := time.Duration(rapid.Int64Range(0, int64(2*time.Minute)).Draw(t, "up"))
			b, err := json.Marshal(moved)
			if err != nil {
				t.Fatal(err)
			}
			moved = Counter{}
			if err := json.Unmarshal(b, &moved); err != nil {
				t.Fatal(err)
			}
			if a, b := kept.Failed(p, up, nil), moved.Failed(p, up, nil); a != b {
				t.Fatalf("delay %v before and %v after encoding", a, b)
			}
		}
	})
}
