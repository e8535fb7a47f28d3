package restart

import (
	"math"
	"time"
)

// Counter is the restart state of one child: how often in a row it failed. It
// is plain data, so that a supervisor can encode it and go on after an exec.
type Counter struct {
	Failures int `json:"failures"`
}

// Failed counts one more failure of a child that had been up for this long (0
// when it could not be started at all) and returns the delay before its
// restart. Being up for p.Reset or longer forgets what was before.
func (c *Counter) Failed(p Policy, up time.Duration, random func() float64) time.Duration {
	if up >= p.Reset {
		c.Reset()
	}
	if c.Failures < math.MaxInt {
		c.Failures++
	}
	return p.Delay(c.Failures, random)
}

// Reset forgets the failures: after a manual start or restart, or a changed spec.
func (c *Counter) Reset() { c.Failures = 0 }
