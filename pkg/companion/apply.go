package companion

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// pendingApply is an apply that waits for the end of what it has stopped.
type pendingApply struct {
	id     uint64
	at     time.Time
	change control.CompanionsChange
	ending map[*instance]bool // in STOPPING because of this apply
}

// apply makes the manager run exactly these companions and touches only what differs.
func (c *core) apply(now time.Time, a link.Apply) {
	if c.shutdown {
		return
	}
	c.answerApply() // the arbiter asks one at a time; an old question is not left open
	p := &pendingApply{
		id: a.ID, at: now, ending: map[*instance]bool{},
		change: control.CompanionsChange{Added: []string{}, Removed: []string{}, Restarted: []string{}, Unchanged: []string{}},
	}
	c.pending = p
	specs := slices.Clone(a.Specs)
	slices.SortFunc(specs, func(x, y config.Companion) int { return strings.Compare(x.Name, y.Name) })
	wanted := make(map[string]bool, len(specs))
	for _, spec := range specs {
		wanted[spec.Name] = true
	}
	for _, i := range slices.Clone(c.instances) {
		if wanted[i.name] {
			continue
		}
		if !slices.Contains(p.change.Removed, i.name) && i.then != thenRemove {
			p.change.Removed = append(p.change.Removed, i.name)
		}
		c.drop(now, i)
	}
	remembered := make(map[key]link.Instance, len(a.Remembered))
	for _, r := range a.Remembered {
		remembered[key{r.Name, r.Instance}] = r
	}
	present := make(map[string][]*instance, len(specs))
	for _, i := range c.instances {
		present[i.name] = append(present[i.name], i)
	}
	for _, spec := range specs {
		list := c.applyOne(now, spec, present[spec.Name], remembered, a.Reload)
		*list = append(*list, spec.Name)
	}
}

// applyOne brings the instances of one companion in step with its spec, and
// returns the list of the result to which it belongs.
func (c *core) applyOne(now time.Time, spec config.Companion, present []*instance, remembered map[key]link.Instance, reload bool) *[]string {
	result := &c.pending.change.Unchanged
	if len(present) == 0 {
		result = &c.pending.change.Added
	}
	for _, i := range present {
		if i.number > spec.Numprocs {
			c.drop(now, i)
		}
	}
	for n := 1; n <= spec.Numprocs; n++ {
		i := c.byKey[key{spec.Name, n}]
		if i == nil {
			c.introduce(now, spec, n, remembered)
			continue
		}
		changed := i.spec.Hash != spec.Hash
		i.spec = spec
		i.changed = i.changed || changed
		switch {
		case i.phase == stopping && i.then == thenRemove:
			// Taken out and put back before its old process had ended.
			i.then = thenStop
			if i.wanted = spec.Autostart; i.wanted {
				i.then = thenStart
			}
			i.changed = true
			result = &c.pending.change.Added
		case changed:
			c.renew(now, i, causeReload)
			result = &c.pending.change.Restarted
		case reload && spec.OnReload.Restart:
			c.renew(now, i, causeReload)
			result = &c.pending.change.Restarted
		case reload && spec.OnReload.Signal != 0 && i.up():
			c.signal(i, spec.OnReload.Signal)
		}
	}
	return result
}

// introduce makes a new instance, or one that an earlier manager had: what users
// stopped stays stopped, and what had come to its end is not run again.
func (c *core) introduce(now time.Time, spec config.Companion, number int, remembered map[key]link.Instance) {
	i := c.add(spec, number)
	r, known := remembered[i.key]
	if !known {
		if spec.Autostart {
			c.start(now, i)
		}
		return
	}
	i.restarts, i.exits, i.stopKills = r.Restarts, r.Exits, r.StopKills
	i.failures.Failures = r.Failures
	i.lastExit = r.LastExit
	i.wanted = r.Desired == control.Up
	same := r.Hash == spec.Hash
	switch {
	case !i.wanted:
		i.enter(stopped)
	case same && (r.State == control.Exited || r.State == control.Fatal):
		i.enter(phase(r.State))
	default:
		if r.Exits > 0 || r.PID != 0 {
			i.restarts++
		}
		c.start(now, i)
	}
}

// renew makes the instance run its spec afresh, if it is meant to run at all.
func (c *core) renew(now time.Time, i *instance, cause string) {
	if !i.wanted {
		return // stored for the next start
	}
	i.failures.Reset()
	i.changed = true
	if i.up() {
		c.stop(now, i, i.live.ReloadTimeout, thenStart, cause)
	} else {
		c.bringUp(now, i)
	}
	if i.phase == stopping {
		c.pending.ending[i] = true
	}
}

// bringUp starts an instance that is not up, as soon as nothing of it lives.
func (c *core) bringUp(now time.Time, i *instance) {
	i.wanted, i.changed = true, true
	switch {
	case i.up():
	case i.phase == stopping:
		i.then = thenStart
	case i.lives():
		c.stop(now, i, i.live.StopTimeout, thenStart, causeRestart)
	default:
		c.start(now, i)
	}
}

// drop ends an instance for good.
func (c *core) drop(now time.Time, i *instance) {
	if !i.lives() {
		c.remove(i)
		return
	}
	i.wanted = false
	c.stop(now, i, i.live.StopTimeout, thenRemove, causeRemoved)
	c.pending.ending[i] = true
}

// settleApply answers the apply when nothing that it stopped is still stopping.
func (c *core) settleApply() {
	if c.pending == nil {
		return
	}
	for i := range c.pending.ending {
		if i.phase == stopping && c.byKey[i.key] == i {
			return
		}
		delete(c.pending.ending, i)
	}
	c.answerApply()
}

func (c *core) answerApply() {
	p := c.pending
	if p == nil {
		return
	}
	c.pending = nil
	c.do(record{slog.LevelInfo, "companions.applied", "companions applied", []slog.Attr{
		slog.Any("added", p.change.Added), slog.Any("removed", p.change.Removed),
		slog.Any("restarted", p.change.Restarted), slog.Int("unchanged", len(p.change.Unchanged)),
	}})
	c.do(send{link.Message{Applied: &link.Applied{ID: p.id, Change: p.change}}})
}
