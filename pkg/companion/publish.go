package companion

import (
	"slices"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// publish tells the arbiter what has changed.
func (c *core) publish(touched []*instance) {
	var changed []action
	for _, i := range touched {
		if i.changed && c.byKey[i.key] == i {
			i.changed = false
			changed = append(changed, send{link.Message{Instance: i.view()}})
		}
	}
	if len(changed) == 0 {
		return
	}
	// Before every answer (see package link) and every event of the same step:
	// who has heard of a change can ask for it.
	at := slices.IndexFunc(c.actions, func(a action) bool {
		switch a.(type) {
		case record, send:
			return true
		default:
			return false
		}
	})
	if at < 0 {
		at = len(c.actions)
	}
	c.actions = slices.Insert(c.actions, at, changed...)
}

// view is what the arbiter is told of an instance.
func (i *instance) view() *link.Instance {
	v := &link.Instance{
		Companion: control.Companion{
			Name: i.name, Instance: i.number, State: string(i.phase), Desired: control.Down,
			PID: i.pid, Hash: i.spec.Hash, Restarts: i.restarts, Exits: i.exits,
			Failures: i.failures.Failures, StopKills: i.stopKills, LastExit: i.lastExit,
		},
	}
	if i.wanted {
		v.Desired = control.Up
	}
	if i.pid != 0 {
		at := i.startedAt
		v.StartedAt = &at
	}
	if i.phase == backoff && !i.deadline.IsZero() {
		at := i.deadline
		v.NextRetryAt = &at
	}
	if i.lives() && i.group != 0 {
		v.Group, v.StopSignal, v.StopTimeout, v.StopGroup = i.group, i.live.StopSignal, i.live.StopTimeout, i.live.StopGroup
	}
	if i.pid != 0 {
		w := wiringOf(i.live)
		v.Piped = w.Piped()
	}
	return v
}
