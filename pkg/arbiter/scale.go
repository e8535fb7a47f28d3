package arbiter

import (
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
)

const causeScale = "scale"

// scale changes the number of workers, to what worker.count could say, too. It holds
// over reloads until the file's own count changes.
func (c *core) scale(now time.Time, e scaleAsked) {
	to := e.to
	if to == 0 {
		to = c.coming() + min(max(e.delta, math.MinInt32), math.MaxInt32) // the sum has to fit
	}
	switch {
	case c.stop.asked:
		c.refuseScale(e, "cannot scale: gofork is stopping")
	case c.config.Worker == nil:
		c.refuseScale(e, "cannot scale: there is no [worker] table, so there are no workers")
	case to < 1:
		c.refuseScale(e, fmt.Sprintf("cannot scale to %d workers: there must be at least 1", to))
	case to > config.MaxWorkers:
		c.refuseScale(e, fmt.Sprintf("cannot scale to %d workers: there can be at most %d", to, config.MaxWorkers))
	default:
		c.setCount(now, to, e.by)
		if e.token != 0 {
			workers := c.status(now).Workers
			c.do(reply{e.token, &workers})
		}
	}
}

// refuseScale answers who waits, or says in the log that a signal was without effect.
func (c *core) refuseScale(e scaleAsked, reason string) {
	if e.token != 0 {
		c.do(reply{e.token, control.Conflictf("%s", reason)})
		return
	}
	c.do(record{slog.LevelWarn, "workers.scaled", "workers not scaled", []slog.Attr{
		slog.Int("old", c.count), slog.Int("new", c.count), slog.String("by", e.by), slog.String("reason", reason),
	}})
}

// coming is the number of workers that there will be: that of the reload under way,
// if it changes it.
func (c *core) coming() int {
	if c.reload.rolling() {
		return c.reload.target
	}
	return c.count
}

func (c *core) setCount(now time.Time, count int, by string) {
	old, told := c.count, c.count
	if count == old {
		told = c.coming() // which a reload would have brought
	}
	if count == told {
		return
	}
	c.count = count
	c.upgrade.parked = 0
	if c.reload.rolling() {
		c.reload.target, c.reload.from = count, count
	}
	for n := old; n < min(count, len(c.slots)); n++ {
		c.slots[n].generation = c.generation // it was away while others were replaced
	}
	c.sayScaled(told, by)
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
		s.retryAt, s.queued, s.recycleAt, s.recycle = time.Time{}, false, time.Time{}, ""
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
