package restart

import (
	"math"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Policy says how long to wait before the n-th consecutive restart:
// min(Initial × 2^(n-1), Max) ± Jitter. It is a value and can be compared.
type Policy struct {
	// Initial is the delay before the first restart; 0 restarts at once, every time.
	Initial time.Duration
	// Max bounds the delay, jitter included.
	Max time.Duration
	// Reset is how long a child must have been up for its failures before that
	// to be forgotten. 0 forgets them every time.
	Reset time.Duration
	// Jitter is the fraction of the delay, 0 … 1, by which it may differ either way.
	Jitter float64
	// Immediate makes the first restart happen at once and begins the doubling
	// with the second: 0, 1, 2, 4 … s. It is how workers are replaced, where the
	// loss of one process must not cost capacity, but a loop must not burn the CPU.
	Immediate bool
}

// doublings is how many times the shortest delay of 1 ns can be doubled before
// it passes every possible Max; a count beyond that changes nothing.
const doublings = 63

// Delay returns how long to wait before the restart that follows this many
// consecutive failures; failures below 1 count as 1. random returns a number in
// [0, 1) and is called exactly once when a jitter applies, else never, so that a
// seeded source gives the same delays again.
//
// Delays are exact up to 2^53 ns (104 days), and the nearest float64 beyond.
func (p Policy) Delay(failures int, random func() float64) time.Duration {
	failures = max(failures, 1)
	if p.Immediate {
		failures--
	}
	if failures == 0 || p.Initial <= 0 || p.Max <= 0 {
		return 0
	}
	d := p.doubled(failures)
	if !(p.Jitter > 0) { // NaN is no jitter either
		return d
	}
	return p.spread(d, random())
}

// doubled returns min(Initial × 2^(n-1), Max).
func (p Policy) doubled(n int) time.Duration {
	b := backoff.ExponentialBackOff{
		// The library bounds what it has doubled, not what it begins with.
		InitialInterval: min(p.Initial, p.Max),
		Multiplier:      2,
		MaxInterval:     p.Max,
		MaxElapsedTime:  0, // giving up is the supervisor's decision (startretries)
		Clock:           still{},
	}
	b.Reset()
	var d time.Duration
	for range min(n, doublings+1) {
		d = b.NextBackOff()
	}
	return d
}

// spread places d within its jitter: evenly in [d−Jitter×d, min(d+Jitter×d, Max)].
// The library would let it pass Max, and a plain cut at Max would send half of
// the children there at the same moment.
func (p Policy) spread(d time.Duration, random float64) time.Duration {
	delta := min(p.Jitter, 1) * float64(d)
	low := float64(d) - delta
	high := min(float64(d)+delta, float64(p.Max))
	at := low + random*(high-low)
	if at >= float64(math.MaxInt64) { // float64 rounds MaxInt64 up to 2^63, which no Duration holds
		return p.Max
	}
	return min(max(time.Duration(at), 0), p.Max)
}

// still is a clock that never moves: the library reads it only to compare with
// MaxElapsedTime, which is off.
type still struct{}

func (still) Now() time.Time { return time.Time{} }
