package arbiter

import (
	"log/slog"
	"strconv"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

const causeScale = "scale"

// scale changes the number of workers, to at least one. It holds over reloads
// until the file's own count changes.
func (c *core) scale(now time.Time, e scaleAsked) {
	to := e.to
	if to == 0 {
		to = c.count + e.delta
	}
	switch {
	case c.stop.asked:
		c.answerScale(now, e.token, control.Conflictf("cannot scale: gofork is stopping"))
	case c.config.Worker == nil:
		c.answerScale(now, e.token, control.Conflictf("cannot scale: there is no [worker] table, so there are no workers"))
	case to < 1 && e.token != 0 && e.to == 0:
		c.answerScale(now, e.token, control.Conflictf("cannot scale to %d workers: there must be at least 1", to))
	default:
		c.setCount(now, max(to, 1), e.by)
		c.answerScale(now, e.token, nil)
	}
}

func (c *core) answerScale(now time.Time, token uint64, refused *control.Error) {
	if token == 0 {
		return
	}
	if refused != nil {
		c.do(reply{token, refused})
		return
	}
	workers := c.status(now).Workers
	c.do(reply{token, &workers})
}

func (c *core) setCount(now time.Time, count int, by string) {
	if count == c.count {
		return
	}
	old := c.count
	c.count = count
	c.upgrade.parked = 0
	if c.reload.rolling() {
		c.reload.target, c.reload.from = count, count
	}
	for n := old; n < min(count, len(c.slots)); n++ {
		c.slots[n].generation = c.generation // it was away while others were replaced
	}
	c.sayScaled(old, by)
	c.fill(now)
	c.drainSurplus(now, causeScale)
}

func (c *core) sayScaled(old int, by string) {
	c.do(record{slog.LevelInfo, "workers.scaled", "workers scaled", []slog.Attr{
		slog.Int("old", old), slog.Int("new", c.count), slog.String("by", by),
	}})
	c.hook("nworkers_changed", "GOFORK_WORKERS_OLD="+strconv.Itoa(old), "GOFORK_WORKERS_NEW="+strconv.Itoa(c.count))
}

// drainSurplus ends the workers of slots that are not wanted any more.
func (c *core) drainSurplus(now time.Time, cause string) {
	for _, s := range c.slots {
		if s.number <= c.count {
			continue
		}
		s.retryAt, s.startAt, s.recycleAt, s.recycle = time.Time{}, time.Time{}, time.Time{}, ""
		for _, w := range s.workers {
			c.drain(now, w, w.generation.worker().StopSignal, w.generation.config.Server.GracefulTimeout, cause)
		}
		// Not only when they have ended: until then the kernel would go on giving
		// the slot's own socket, which a draining worker has let go of, its share of
		// the connections; and a slot in backoff has no worker whose end would come.
		if !c.stop.sent {
			c.do(retireSlot{s.number})
		}
	}
}
