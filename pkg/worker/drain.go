package worker

import "time"

const (
	// drainLook is the shortest time between two looks at the waiting
	// connections, for drain delays near zero.
	drainLook = 10 * time.Millisecond
	// drainMargin is how much earlier than the supervisor's SIGKILL a worker
	// cuts what still runs: enough to say so in the log.
	drainMargin = 200 * time.Millisecond
)

// drain is the way out of serving; see the package comment for its steps. It
// returns the exit code.
func (p *process) drain() int {
	start := time.Now()
	table := p.server.table
	close(table.draining)
	p.notify("STOPPING=1")
	p.log.Debug("worker draining", "connections", table.len())
	p.server.release()

	var cut <-chan time.Time
	if limit := p.spec.GracefulTimeout; limit > 0 {
		t := time.NewTimer(limit - min(drainMargin, limit/10))
		defer t.Stop()
		cut = t.C
	}
	look := time.NewTimer(p.spec.DrainDelay)
	defer look.Stop()
	ended := p.server.ended
	for {
		// Only when the last listener has ended can no connection be added.
		if ended == nil && table.len() == 0 {
			return exitOK
		}
		select {
		case <-ended:
			ended = nil
		case <-table.empty:
		case <-look.C:
			look.Reset(p.expire(start))
		case s := <-p.signals:
			if p.order(s) == quit {
				return exitOK
			}
		case <-p.server.recycle: // too late to matter
		case <-cut:
			p.log.Warn("graceful_timeout ran out, requests are cut",
				"connections", table.len(), "graceful_timeout", p.spec.GracefulTimeout.String())
			return exitOK
		}
	}
}

// expire closes the connections that have waited for the drain delay and returns
// the time until it has to be called again.
func (p *process) expire(start time.Time) time.Duration {
	// Connections that reached HTTP/2 after the first GOAWAY was sent.
	p.server.goAway()
	now := time.Now()
	// A connection that begins to wait after this look is due no earlier.
	next := max(p.spec.DrainDelay, drainLook)
	for _, c := range p.server.table.list() {
		due, ok := c.dueAt(start, p.spec.DrainDelay)
		switch {
		case !ok:
		case due.After(now):
			next = min(next, max(due.Sub(now), drainLook))
		default:
			c.expire()
		}
	}
	return next
}
