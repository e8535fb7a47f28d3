package arbiter

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/handoff"
)

// A stop, a boot or a reload may take longer than the unit allows (TimeoutStopSec,
// TimeoutStartSec): as long as the loop is alive and its own clocks bound what it
// does, it asks for more, well before the last extension is over. Boots and
// reloads that are soon done say nothing of it.
const (
	extension   = 30 * time.Second
	extendEvery = 10 * time.Second
	extendAfter = time.Second
)

// While the queue of the supervisor above is full, what changes the service's state
// waits. A remark does not: it will be said again, and the loop has workers to look
// after.
const (
	tellPatience   = 5 * time.Second
	remarkPatience = time.Millisecond
)

// statusRunning stands in a state of the core for the words that the loop finds.
const statusRunning = "STATUS=running"

// above is the supervisor above, which is systemd or speaks like it. It belongs to
// the loop and is served by the loop's one timer: a loop that hangs is a gofork
// that systemd has to restart.
type above struct {
	beatEvery  time.Duration // half of what WATCHDOG_USEC allows; 0 = it does not watch
	beatAt     time.Time     // when the next WATCHDOG=1 is due
	extendFrom time.Time     // when what it waits for needs its first extension; zero = nothing does
	extendAt   time.Time     // when the next EXTEND_TIMEOUT_USEC is due
	status     string        // what it was told last
	deaf       bool          // it could not be told the last time, which was logged
}

// watchdogOf reads WATCHDOG_USEC as sd_watchdog_enabled(3) does: what is meant for
// another process does not count.
func watchdogOf(environ []string, pid int) (every time.Duration, err error) {
	usec, whose := "", ""
	for _, kv := range environ {
		switch name, value, _ := strings.Cut(kv, "="); name {
		case "WATCHDOG_USEC":
			usec = value
		case "WATCHDOG_PID":
			whose = value
		}
	}
	if usec == "" || whose != "" && whose != strconv.Itoa(pid) {
		return 0, nil
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 || n > int64(365*24*time.Hour/time.Microsecond) {
		return 0, fmt.Errorf("cannot use WATCHDOG_USEC %q: must be a number of microseconds", usec)
	}
	return time.Duration(n) * time.Microsecond / 2, nil
}

// beginAbove is called once, before the loop runs.
func (l *loop) beginAbove() {
	if l.Systemd == "" {
		return
	}
	every, err := watchdogOf(l.Environ, l.PID)
	if err != nil {
		l.Logger.LogAttrs(background, slog.LevelWarn, "no heartbeats for the supervisor above", slog.String("error", err.Error()))
	}
	l.above.beatEvery = every
}

// speaks says whether the supervisor above listens to this process: to the older
// one of two arbiters until it is gone.
func (l *loop) speaks() bool { return l.Systemd != "" && l.Lineage.Parent == 0 }

// aboveDeadline is when something is due; it sets what has not been set yet.
func (l *loop) aboveDeadline(now time.Time) time.Time {
	if !l.speaks() {
		return time.Time{}
	}
	u := &l.above
	if u.beatEvery > 0 && u.beatAt.IsZero() {
		u.beatAt = now
	}
	if from := l.extendFrom(); !from.Equal(u.extendFrom) {
		u.extendFrom, u.extendAt = from, from
	}
	return sooner(u.beatAt, u.extendAt)
}

// extendFrom is when the supervisor above has to be asked for more time, zero
// while it waits for nothing.
func (l *loop) extendFrom() time.Time {
	if l.core == nil {
		return l.startedAt.Add(extendAfter) // on_starting runs, which hooks.timeout bounds
	}
	return l.core.extendFrom()
}

func (c *core) extendFrom() time.Time {
	switch {
	case c.stop.asked && c.upgrade.hasChild():
		return time.Time{} // the service goes on in the child
	case c.stop.asked:
		return c.stop.askedAt
	case c.reload.phase != reloadIdle:
		return c.reload.started.Add(extendAfter)
	case c.state == serverStarting && c.bootEnds():
		return c.startedAt.Add(extendAfter)
	}
	return time.Time{}
}

// bootEnds says whether clocks of gofork's own bound the boot. When one worker
// serves and another fails again and again there is none, nor when a manager
// without a web tier does: then the unit's clock has to count.
func (c *core) bootEnds() bool {
	if !c.served {
		return c.config.Worker != nil // boot_timeout and boot_retries
	}
	return !slices.ContainsFunc(c.slots, func(s *slot) bool { return !s.isReady() && s.lastExit != nil })
}

// aboveDue says what is due.
func (l *loop) aboveDue(now time.Time) {
	u := &l.above
	if due(u.beatAt, now) {
		u.beatAt = now.Add(u.beatEvery)
		l.tellSystemd("WATCHDOG=1")
	}
	l.askForTime(now)
}

func (l *loop) askForTime(now time.Time) {
	if u := &l.above; due(u.extendAt, now) {
		u.extendAt = now.Add(extendEvery)
		l.tellSystemd("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(extension.Microseconds(), 10))
	}
}

// tellAbove keeps the status text true. It is called when nothing is left to do,
// so that many changes at once are told once. The reason of a failure stands.
func (l *loop) tellAbove() {
	if !l.speaks() {
		return
	}
	// Before the loop waits: when it looks at its timer, the stop may be over.
	now := time.Now()
	l.aboveDeadline(now)
	l.askForTime(now)
	if l.core.stop.code != 0 {
		return
	}
	if text := l.core.summary(); text != l.above.status {
		l.tellSystemd("STATUS=" + text)
	}
}

// tellSystemd passes a state on. A younger arbiter has none to tell: its end, or a
// reload of its own, is not the service's.
func (l *loop) tellSystemd(state string) {
	if !l.speaks() {
		return
	}
	if state == stateReloading {
		// Type=notify-reload wants the moment, sd_notify(3).
		state += "\nMONOTONIC_USEC=" + strconv.FormatInt(monotonic().Microseconds(), 10)
	}
	if strings.HasSuffix(state, statusRunning) {
		state = strings.TrimSuffix(state, statusRunning) + "STATUS=" + l.core.summary()
	}
	if _, text, ok := strings.Cut(state, "STATUS="); ok {
		l.above.status = text
	}
	patience := tellPatience
	if isRemark(state) {
		patience = remarkPatience
	}
	err := handoff.NotifyWithin(l.Systemd, state, patience)
	if err != nil && !l.above.deaf {
		l.Logger.Warn("cannot notify the supervisor above", "error", err.Error())
	}
	if l.above.deaf = err != nil; l.above.deaf {
		l.above.status = ""
	}
}

// isRemark says whether a state changes nothing about the service.
func isRemark(state string) bool {
	name, _, _ := strings.Cut(state, "=")
	return name == "STATUS" || name == "WATCHDOG" || name == "EXTEND_TIMEOUT_USEC"
}

// summary is what `systemctl status` shows: "2 of 2 workers ready, 3 companions".
func (c *core) summary() string {
	if c.stop.sent {
		return "stopping: " + c.remains()
	}
	var parts []string
	if c.config.Worker != nil {
		up := 0
		for _, s := range c.slots {
			if s.number <= c.count && s.isReady() {
				up++
			}
		}
		parts = append(parts, fmt.Sprintf("%d of %s ready", up, plural(c.count, "worker")))
	}
	if len(c.config.Companions) > 0 {
		all, up := 0, 0
		for _, i := range c.manager.instances {
			all++
			if i.State == control.Running {
				up++
			}
		}
		if up == all {
			parts = append(parts, plural(all, "companion"))
		} else {
			parts = append(parts, fmt.Sprintf("%d of %s running", up, plural(all, "companion")))
		}
	}
	text := strings.Join(parts, ", ")
	if last := c.reload.last; last != nil && !last.OK {
		text += "; the last reload failed"
	}
	if state := c.shownState(); state != control.StateRunning {
		return state + ": " + text
	}
	return text
}

// remains is what a stop waits for.
func (c *core) remains() string {
	workers, companions := 0, 0
	for _, s := range c.slots {
		workers += len(s.workers)
	}
	for _, i := range c.manager.instances {
		if i.PID != 0 || i.Group != 0 {
			companions++
		}
	}
	return plural(workers, "worker") + ", " + plural(companions, "companion") + " left"
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
