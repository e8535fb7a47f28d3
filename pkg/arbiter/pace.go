package arbiter

import "time"

// Starts come in a burst, then one at a time: as gunicorn does, so that many
// workers that boot do not take the CPUs from one another and from those who serve.
const (
	paceBurst    = 8
	paceInterval = 25 * time.Millisecond
)

// pace is a token bucket of worker starts, refilled with one each paceInterval.
type pace struct {
	full time.Time // when the bucket is full again; in the past = it is
}

// next takes a token and returns when it can be used; zero = now.
func (p *pace) next(now time.Time) time.Time {
	if p.full.Before(now) {
		p.full = now
	}
	p.full = p.full.Add(paceInterval)
	at := p.full.Add(-paceBurst * paceInterval)
	if !at.After(now) {
		return time.Time{}
	}
	return at
}
