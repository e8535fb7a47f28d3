package arbiter

import (
	"fmt"
	"log/slog"
	"time"
)

// advance moves on what waits for workers to become ready.
func (c *core) advance(now time.Time) {
	if c.stop.sent {
		return
	}
	if c.reload.rolling() {
		c.roll(now)
	}
	c.takeOver(now)
	c.recycleMore(now)
}

// roll starts workers of the new generation, as many as the surge allows, and
// lets old ones go as new ones are ready: one by one, or, when the surge is enough
// for all of them at once, only when all are.
func (c *core) roll(now time.Time) {
	r := &c.reload
	live, base := 0, max(c.count, r.target)
	complete := true
	if r.target > 0 {
		r.atomic = r.generation.worker().MaxSurge.Of(r.target) >= r.target
	}
	for _, s := range c.slots {
		live += len(s.workers)
		if s.startOn && s.queued {
			live++
		}
		if s.number <= c.count && !s.held() {
			live++ // its own next attempt, which waits for its turn or its delay
		}
		if w := s.successor(); s.number <= r.target && s.generation != r.generation && (w == nil || w.phase != ready) {
			complete = false
		}
	}
	room := false
	for _, s := range c.slots[:r.target] {
		if s.generation == r.generation {
			continue
		}
		w := s.successor()
		if !s.replacing() && !s.queued && live < base+r.generation.worker().MaxSurge.Of(r.target) {
			live++
			c.startWorker(now, s, true)
			continue
		}
		// New slots are filled in order: should the reload fail, none below is empty.
		if w != nil && w.phase == ready && (complete || !r.atomic) && s.number <= c.count+1 {
			room = room || !s.held() // else the end of the one that it replaces makes room
			c.promote(now, s, w)
		}
	}
	for _, s := range c.slots[:r.target] {
		if s.generation == r.generation {
			continue
		}
		if room {
			c.roll(now)
		}
		return
	}
	c.rolled(now)
}

// promote makes a ready successor the slot's worker and drains the one before it.
func (c *core) promote(now time.Time, s *slot, w *worker) {
	c.supersede(now, s, w, causeReload)
	s.generation = c.reload.generation
	s.retryAt = time.Time{}
	s.failures.Reset()
	if s.number > c.count {
		c.count = s.number
	}
}

// supersede gives the slot to its successor.
func (c *core) supersede(now time.Time, s *slot, w *worker, cause string) {
	old := s.serving()
	w.successor = false
	if old != nil || s.lastExit != nil {
		s.restarts++
	}
	s.recycle, s.recycleAt, s.queued = w.recycle, time.Time{}, false
	if old != nil {
		c.drain(now, old, old.generation.worker().StopSignal, old.generation.config.Server.GracefulTimeout, cause)
	}
}

// takeOver promotes successors of recycled workers.
func (c *core) takeOver(now time.Time) {
	if c.reload.rolling() {
		return
	}
	for _, s := range c.slots {
		if w := s.successor(); w != nil && w.phase == ready {
			c.supersede(now, s, w, causeRecycled)
		}
	}
}

// rolled is the moment from which the new generation serves.
func (c *core) rolled(now time.Time) {
	r := &c.reload
	c.generation = r.generation
	c.count = r.target
	if r.from != c.count {
		c.sayScaled(r.from, causeReload)
	}
	c.drainSurplus(now, causeReload)
	c.do(retireListeners{[]int{c.generation.number}})
	c.watchSources()
	c.applyCompanions(now, r.generation.config)
}

// successorFailed is the end of a worker that was to take another's place.
func (c *core) successorFailed(now time.Time, s *slot, w *worker, status exitStatus) {
	if c.reload.rolling() && w.generation == c.reload.generation {
		c.failReload(now, fmt.Sprintf("cannot reload: worker slot %d %s; %s", s.number, failure(w, status), c.whatServes()))
		return
	}
	if s.recycle == "" || w.generation != s.generation || c.stop.asked {
		return // what it was for is over: a reload failed or began, the old one died, all end
	}
	delay := max(s.failures.Failed(s.policy(), w.service(now), c.random), retryInitial)
	s.recycleAt = now.Add(delay)
	c.do(record{slog.LevelWarn, "worker.backoff", "cannot replace worker, trying again later", []slog.Attr{
		slog.Int("slot", s.number), slog.Duration("delay", delay), slog.Int("failures", s.failures.Failures),
	}})
}

// whatServes says who goes on when the reload under way stops here: the old
// generation, beside slots that the new one has taken over.
func (c *core) whatServes() string {
	taken := 0
	for _, s := range c.slots {
		if s.number <= c.count && s.generation == c.reload.generation {
			taken++
		}
	}
	old, next := c.generation.number, c.reload.generation.number
	switch taken {
	case 0:
		return fmt.Sprintf("generation %d goes on serving", old)
	case 1:
		return fmt.Sprintf("generation %d goes on serving, beside 1 worker of generation %d", old, next)
	default:
		return fmt.Sprintf("generation %d goes on serving, beside %d workers of generation %d", old, taken, next)
	}
}

// failure says why a worker did not come up.
func failure(w *worker, s exitStatus) string {
	when := "exited before ready"
	if !w.readyAt.IsZero() {
		when = "exited before the others were ready"
	}
	switch {
	case w.cause == causeBootTimeout:
		return fmt.Sprintf("was not ready within boot_timeout (%s)", w.generation.worker().BootTimeout)
	case s.startError != "":
		return "did not start: " + s.startError
	case s.signal != 0:
		return when + ": signal " + signalName(s.signal)
	case s.code == codeLoadFailed:
		return when + ": app failed to load (code 4)"
	default:
		return fmt.Sprintf("%s: code %d", when, s.code)
	}
}
