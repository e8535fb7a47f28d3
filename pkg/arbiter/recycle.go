package arbiter

import (
	"log/slog"
	"time"
)

// Reasons to replace a worker that has done nothing wrong.
const (
	recycleMemory   = "max_memory"
	recycleLifetime = "max_lifetime"
)

// measureInterval is how often the memory of a worker with a max_memory is looked
// at. Nothing tells when a process grows, so this is the one thing that is polled,
// and only when it is asked for.
const measureInterval = 5 * time.Second

// lifetime starts the clocks of a worker that has become ready.
func (c *core) lifetime(now time.Time, w *worker) {
	cfg := w.generation.worker()
	if cfg.MaxLifetime > 0 {
		w.recycleAt = now.Add(cfg.MaxLifetime + time.Duration(c.random()*float64(cfg.MaxLifetimeJitter)))
	}
	if cfg.MaxMemory > 0 {
		w.measureAt = now.Add(measureInterval)
	}
}

func (c *core) recyclingDue(now time.Time, w *worker) {
	if w.phase != ready || !w.leader {
		return
	}
	if due(w.recycleAt, now) {
		w.recycleAt = time.Time{}
		c.wantRecycling(w, recycleLifetime)
	}
	if due(w.measureAt, now) {
		w.measureAt = now.Add(measureInterval)
		c.do(measureWorker{w.id})
	}
}

func (c *core) measured(w *worker, rss int64) {
	if limit := w.generation.worker().MaxMemory; limit > 0 && rss > limit {
		c.wantRecycling(w, recycleMemory)
	}
}

// wantRecycling notes that the slot's serving worker is to be replaced, when its
// turn comes.
func (c *core) wantRecycling(w *worker, why string) {
	s := c.slots[w.slot-1]
	if w.successor {
		w.recycle = why // a worker says it once
	}
	if s.serving() != w || w.phase != ready || s.recycle != "" || c.stop.asked {
		return
	}
	s.recycle = why
}

// recycleMore starts successors, for at most one slot or a tenth of them at a
// time: workers that were started together must not be replaced together.
func (c *core) recycleMore(now time.Time) {
	if c.reload.rolling() || c.stop.asked {
		return // a reload replaces them all
	}
	budget := max(1, c.count/10)
	for _, s := range c.slots {
		if s.recycle != "" && (s.replacing() || s.startOn && s.queued) || c.draining(s) {
			budget--
		}
	}
	for _, s := range c.slots {
		if budget <= 0 {
			return
		}
		w := s.serving()
		if s.recycle == "" || !s.recycleAt.IsZero() || s.number > c.count || w == nil || w.phase != ready || s.replacing() || s.queued {
			continue
		}
		budget--
		c.record(slog.LevelInfo, "worker.recycled", "replacing worker", w, slog.String("reason", s.recycle))
		c.startWorker(now, s, true)
	}
}

// draining says whether a worker of the slot is still on its way out, whatever for:
// nobody is replaced before the pool has its size again.
func (c *core) draining(s *slot) bool {
	for _, w := range s.workers {
		if w.leader && !w.serves() {
			return true
		}
	}
	return false
}
