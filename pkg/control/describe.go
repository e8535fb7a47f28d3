package control

import (
	"fmt"
	"time"
)

// Describe fills in what depends on the moment of the question: the uptime and
// the sentence that people read after the state.
func (c *Companion) Describe(now time.Time) {
	c.UptimeSeconds = 0
	if c.PID != 0 && c.StartedAt != nil {
		c.UptimeSeconds = max(now.Sub(*c.StartedAt).Seconds(), 0)
	}
	uptime := Uptime(time.Duration(c.UptimeSeconds * float64(time.Second)))
	switch c.State {
	case Running:
		c.Description = fmt.Sprintf("pid %d, uptime %s", c.PID, uptime)
	case Starting:
		c.Description = "starting"
		if c.PID != 0 { // else asked for, and not forked yet
			c.Description = fmt.Sprintf("pid %d, starting for %s", c.PID, uptime)
		}
	case Stopping:
		c.Description = "waiting for its process group to end"
		if c.PID != 0 {
			c.Description = fmt.Sprintf("pid %d, stopping", c.PID)
		}
	case Backoff:
		c.Description = c.LastExit.Sentence()
		if c.NextRetryAt == nil {
			c.Description += ", waiting for its process group to end"
		} else {
			c.Description += ", retrying in " + Seconds(c.NextRetryAt.Sub(now))
		}
		c.Description += fmt.Sprintf(" (failure %d)", c.Failures)
	case Fatal:
		c.Description = fmt.Sprintf("%s, gave up after failure %d", c.LastExit.Sentence(), c.Failures)
	case Exited:
		c.Description = c.LastExit.Sentence()
	case Stopped:
		c.Description = "stopped manually"
		if c.Desired == Up {
			c.Description = "waiting for the manager"
		} else if c.LastExit == nil && c.Exits == 0 {
			c.Description = "not started"
		}
	}
}

// Sentence says how a process ended: "exited with code 1", "killed by SIGKILL".
func (e *Exit) Sentence() string {
	switch {
	case e == nil:
		return "not started"
	case e.Signal != nil:
		return "killed by " + *e.Signal
	case e.Code != nil && (e.Reason == "" || e.Reason == ReasonExited || e.Expected):
		return fmt.Sprintf("exited with code %d", *e.Code)
	default:
		return e.Reason
	}
}

// ReasonExited is the reason of an exit that nobody asked for.
const ReasonExited = "exited"

// Uptime writes a duration as supervisorctl does: 0:00:01, 1 day, 2:03:59.
func Uptime(d time.Duration) string {
	const day = 24 * time.Hour
	switch days := d / day; {
	case days < 1:
		return Clock(d)
	case days == 1:
		return "1 day, " + Clock(d%day)
	default:
		return fmt.Sprintf("%d days, %s", days, Clock(d%day))
	}
}

// Clock writes a duration without a space, for the cell of a table: 0:00:01, 26:03:59.
func Clock(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// Seconds writes a duration that is still to come, rounded up to whole seconds.
func Seconds(d time.Duration) string {
	return fmt.Sprintf("%ds", int64((max(d, 0)+time.Second-1)/time.Second))
}
