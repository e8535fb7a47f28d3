package arbiter

import "time"

// Starts come in a burst, then one at a time: as gunicorn does, so that many
// workers that boot do not take the CPUs from one another and from those who serve.
const (
	paceBurst    = 8
	paceInterval = 25 * time.Millisecond
)

// pace is a token bucket of worker starts, refilled with one each paceInterval. A
// token is taken at the start itself, never ahead: a start that is given up again
// holds up nobody.
type pace struct {
	full time.Time // when the bucket is full again; in the past = it is
}

// take takes a token, if there is one.
func (p *pace) take(now time.Time) bool {
	if p.full.Before(now) {
		p.full = now
	}
	if p.next().After(now) {
		return false
	}
	p.full = p.full.Add(paceInterval)
	return true
}

// next is when there is a token; in the past = there is one.
func (p *pace) next() time.Time { return p.full.Add(-(paceBurst - 1) * paceInterval) }
