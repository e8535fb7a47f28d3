package arbiter

import (
	"maps"
	"slices"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// maxActs is how many requests may wait for a manager that does not answer: one that
// is stopped, or that waits for the ends of companions. Their askers may have gone.
const maxActs = 1024

// act passes a user's request for a companion on to the manager. One that comes
// while there is no manager waits for the next.
func (c *core) act(e actAsked) {
	m := &c.manager
	spec, known := c.config.Companion(e.act.Name)
	known = known && e.act.Instance <= spec.Numprocs
	for k := range m.instances {
		known = known || k.name == e.act.Name && (e.act.Instance == 0 || e.act.Instance == k.number)
	}
	switch {
	case c.stop.asked:
		c.do(reply{e.token, control.Conflictf("cannot %s %s: gofork is stopping", e.act.Op, control.Target(e.act.Name, e.act.Instance))})
		return
	case c.upgrade.parent != 0 && known:
		c.do(reply{e.token, control.Conflictf("cannot %s %s: it is run by the older gofork, pid %d, until that is gone", e.act.Op, control.Target(e.act.Name, e.act.Instance), c.upgrade.parent)})
		return
	case m.phase == managerNone, !known:
		c.do(reply{e.token, control.UnknownCompanion(control.Target(e.act.Name, e.act.Instance))})
		return
	case len(m.acts) >= maxActs:
		c.do(reply{e.token, control.Unavailablef("cannot %s %s: %d requests wait for the manager already", e.act.Op, control.Target(e.act.Name, e.act.Instance), len(m.acts))})
		return
	}
	e.act.ID = e.token
	m.acts[e.token] = e.act
	if e.act.Op == control.OpStop {
		// Should the manager die now, the next one must not start it.
		for k, i := range m.instances {
			if k.name == e.act.Name && (e.act.Instance == 0 || e.act.Instance == k.number) {
				i.Desired = control.Down
			}
		}
	}
	if m.phase == managerRunning {
		c.forwardActs()
	}
}

// forwardActs sends what the manager has not been sent yet, in the order in
// which it was asked for.
func (c *core) forwardActs() {
	m := &c.manager
	for _, id := range slices.Sorted(maps.Keys(m.acts)) {
		if !m.sent[id] {
			m.sent[id] = true
			a := m.acts[id]
			c.do(tellManager{m.attempt, link.Message{Act: &a}})
		}
	}
}

// acted answers who asked. The manager's records came before, so that a status
// asked for from now on shows what was done.
func (c *core) acted(d *link.Done) {
	m := &c.manager
	if _, ok := m.acts[d.ID]; !ok {
		return
	}
	delete(m.acts, d.ID)
	delete(m.sent, d.ID)
	var answer *control.Error
	switch d.Code {
	case "":
	case control.CodeUnknownCompanion:
		answer = control.Errorf(404, d.Code, "%s", d.Message)
	default:
		answer = control.Conflictf("%s", d.Message)
	}
	c.do(reply{d.ID, answer})
}

// recallActs takes back what a dead manager had not answered. All of it is safe
// to ask again but a signal, which may have been sent; a restart has happened
// with the manager's death, and what is left of it is the start.
func (c *core) recallActs() {
	m := &c.manager
	for _, id := range slices.Sorted(maps.Keys(m.acts)) {
		a := m.acts[id]
		switch {
		case c.stop.asked, a.Op == control.OpSignal && m.sent[id]:
			delete(m.acts, id)
			c.do(reply{id, control.Unavailablef("cannot %s %s: the manager died", a.Op, control.Target(a.Name, a.Instance))})
		case a.Op == control.OpRestart && m.sent[id]:
			a.Op = control.OpStart
			m.acts[id] = a
		}
	}
	clear(m.sent)
}

// refuseActs answers what no manager will: there are no companions any more.
func (c *core) refuseActs() {
	m := &c.manager
	for _, id := range slices.Sorted(maps.Keys(m.acts)) {
		a := m.acts[id]
		c.do(reply{id, control.UnknownCompanion(control.Target(a.Name, a.Instance))})
	}
	clear(m.acts)
	clear(m.sent)
}
