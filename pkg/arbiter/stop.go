package arbiter

import (
	"log/slog"
	"strconv"
	"syscall"
	"time"
)

// quickWindow is what is left to everybody after a quick stop was asked for.
const quickWindow = 5 * time.Second

// askStop begins a stop, or makes a graceful one quick: a second signal does. The
// first one behind a stop that was requested, or that gofork decided on, does not:
// a preStop hook runs gofork stop, and then the platform sends its SIGTERM.
func (c *core) askStop(now time.Time, e stopAsked) {
	first, signal := !c.stop.asked, e.token == 0
	quick := e.quick || signal && c.stop.signaled
	c.stop.signaled = c.stop.signaled || signal
	if c.stop.quick || !first && !quick {
		return
	}
	if first {
		c.stop.askedAt = now
	}
	c.stop.asked, c.stop.quick = true, quick
	c.state = serverStopping
	c.do(record{slog.LevelInfo, "server.stopping", "shutting down", []slog.Attr{
		slog.String("by", e.by), slog.Bool("quick", quick), slog.Duration("budget", c.config.StopBudget()),
	}})
	if first && c.upgrade.hasChild() {
		// The service goes on: it is this process that ends.
		c.do(tellSystemd{"MAINPID=" + strconv.Itoa(c.upgrade.child)})
	} else if first {
		c.do(tellSystemd{"STOPPING=1"})
	}
	if delay := c.config.Server.ShutdownDelay; delay > 0 && !quick && first {
		c.stop.at = now.Add(delay)
		return
	}
	c.sendStop(now)
}

// fail is a stop that gofork itself decides on: what cannot be served is not
// waited for, but what runs is ended as carefully as ever.
func (c *core) fail(now time.Time, reason string, code int) {
	if c.stop.asked {
		return
	}
	c.stop.asked, c.stop.askedAt, c.stop.code = true, now, code
	c.state = serverStopping
	c.do(record{slog.LevelError, "server.stopping", reason, []slog.Attr{
		slog.String("by", "gofork"), slog.Bool("quick", false), slog.Int("code", code),
	}})
	c.do(tellSystemd{"STOPPING=1\nSTATUS=" + reason})
	c.sendStop(now)
}

// sendStop gives everybody the stop signal at the same time, and the windows
// begin. It runs again when a graceful stop becomes quick.
func (c *core) sendStop(now time.Time) {
	c.stop.at, c.stop.sent, c.stop.since = time.Time{}, true, now
	c.do(closeListeners{unlink: !c.upgrade.hasSibling()})
	c.dropReload(now)
	for _, s := range c.slots {
		s.retryAt, s.queued, s.recycleAt = time.Time{}, false, time.Time{}
		for _, w := range s.workers {
			c.stopWorker(now, w)
		}
	}
	c.stopManager(now)
}

func (c *core) stopWorker(now time.Time, w *worker) {
	server := w.generation.config.Server
	if !c.stop.quick {
		c.drain(now, w, w.generation.worker().StopSignal, server.GracefulTimeout, causeShutdown)
		return
	}
	if w.serves() {
		c.drain(now, w, syscall.SIGQUIT, quickWindow, causeShutdown)
		return
	}
	if w.phase == draining || w.phase == aborting {
		w.deadline = sooner(w.deadline, now.Add(quickWindow))
	}
	// Draining already: the signal of the quick stop is another one, and sent once.
	if w.phase == draining && w.leader {
		c.do(signalWorker{w.id, syscall.SIGQUIT})
	}
}

// finishIfDone ends the arbiter when nothing lives any more.
func (c *core) finishIfDone() {
	if !c.stop.sent || c.finished || c.manager.lives() {
		return
	}
	for _, s := range c.slots {
		if len(s.workers) > 0 {
			return
		}
	}
	c.finished = true
	c.do(finish{c.stop.code})
}
