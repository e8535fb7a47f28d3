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
		case <-table.heard:
			look.Reset(p.expire(start))
		case <-look.C:
			look.Reset(p.expire(start))
		case s := <-p.signals:
			if p.order(s) == quit {
				return exitOK
			}
		case <-p.server.recycle: // too late to matter
		case <-cut:
			p.log.Warn("graceful_timeout ran out, requests are cut",
				"connections", table.len(), "graceful_timeout", p.spec.GracefulTimeout)
			return exitOK
		}
	}
}

// expire closes the connections that have waited for the drain delay and returns
// the time until it has to be called again. HTTP/2 connections get their last
// GOAWAY first, and a moment to deliver it: so what crosses it is disclaimed, and
// may be sent again.
func (p *process) expire(start time.Time) time.Duration {
	now := time.Now()
	// A connection that begins to wait after this look is due no earlier.
	next := max(p.spec.DrainDelay, drainLook)
	told := true // every HTTP/2 client has had the drain delay to hear the farewell
	var last []*http2Conn
	for _, c := range p.server.table.list() {
		h := c.http2.Load()
		due, ok := c.dueAt(start, p.spec.DrainDelay)
		switch {
		case !ok:
		case due.After(now):
			next = min(next, max(due.Sub(now), drainLook))
			told = told && h == nil
		case h != nil && !h.last:
			last = append(last, h)
		default:
			c.expire()
		}
	}
	if told && len(last) > 0 {
		p.server.goAway()
		for _, h := range last {
			h.last = true
		}
		next = drainLook
	}
	return next
}
