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

// pendingApply is an apply that waits for what it has stopped to end, and for
// what it has started to have a process.
type pendingApply struct {
	id     uint64
	window time.Duration // see link.Apply
	change control.CompanionsChange
	open   map[*instance]bool // touched by this apply and perhaps still on the way
}

// apply makes the manager run exactly these companions and touches only what differs.
func (c *core) apply(now time.Time, a link.Apply) {
	if c.shutdown {
		c.do(send{link.Message{Applied: &link.Applied{ID: a.ID, Change: noChange()}}})
		return
	}
	c.answerApply() // the arbiter asks one at a time; an old question is not left open
	p := &pendingApply{id: a.ID, window: a.Window, open: map[*instance]bool{}, change: noChange()}
	c.pending = p
	specs := make([]*config.Companion, len(a.Specs))
	for n, spec := range a.Specs {
		specs[n] = &spec // by itself: one that lives long keeps no other
	}
	slices.SortFunc(specs, func(x, y *config.Companion) int { return strings.Compare(x.Name, y.Name) })
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
	for _, r := range a.Remembered {
		if c.byKey[key{r.Name, r.Instance}] == nil {
			// Taken out of the configuration while there was no manager.
			c.do(send{link.Message{Removed: &link.Removed{Name: r.Name, Instance: r.Instance}}})
		}
	}
}

func noChange() control.CompanionsChange {
	return control.CompanionsChange{Added: []string{}, Removed: []string{}, Restarted: []string{}, Unchanged: []string{}}
}

// applyOne brings the instances of one companion in step with its spec, and
// returns the list of the result to which it belongs.
func (c *core) applyOne(now time.Time, spec *config.Companion, present []*instance, remembered map[key]link.Instance, reload bool) *[]string {
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
			c.introduce(spec, n, remembered)
			continue
		}
		changed := i.spec.Hash != spec.Hash
		i.spec = spec
		if i.live.Hash == spec.Hash {
			i.live = spec // the same; the old one can go
		}
		i.changed = i.changed || changed
		switch {
		case i.phase == stopping && i.then == thenRemove:
			// Taken out and put back before its old process had ended.
			i.then = thenStop
			if i.wanted = spec.Autostart; i.wanted {
				i.then = thenStart
			}
			i.failures.Reset()
			i.changed = true
			c.pending.open[i] = true
			result = &c.pending.change.Added
		case !i.wanted:
			// Down because somebody wants it to be: stored for the next start.
		case changed, reload && spec.OnReload.Restart:
			c.renew(now, i)
			result = &c.pending.change.Restarted
		case reload && spec.OnReload.Signal != 0 && i.up() && i.pid != 0:
			c.signal(i, spec.OnReload.Signal)
		}
	}
	return result
}

// introduce makes a new instance, or one that an earlier manager had: what users
// stopped stays stopped, and what had come to its end is not run again.
func (c *core) introduce(spec *config.Companion, number int, remembered map[key]link.Instance) {
	i := c.add(spec, number)
	r, known := remembered[i.key]
	if !known {
		if spec.Autostart {
			c.startNew(i)
		}
		return
	}
	i.restarts, i.exits, i.stopKills = r.Restarts, r.Exits, r.StopKills
	i.ran = r.Exits > 0 || r.Group != 0
	i.lastExit = r.LastExit
	i.wanted = r.Desired == control.Up
	same := r.Hash == spec.Hash
	if same {
		i.failures.Failures = r.Failures
	}
	switch {
	case !i.wanted:
		i.enter(stopped)
	case same && (r.State == control.Exited || r.State == control.Fatal):
		i.enter(phase(r.State))
	default:
		c.startNew(i)
	}
}

func (c *core) startNew(i *instance) {
	c.start(i)
	c.pending.open[i] = true
}

// renew makes an instance that is wanted run its spec afresh.
func (c *core) renew(now time.Time, i *instance) {
	i.failures.Reset()
	i.changed = true
	c.pending.open[i] = true
	if i.up() {
		window := i.live.ReloadTimeout
		if most := c.pending.window; most > 0 {
			window = min(window, most)
		}
		c.stop(now, i, window, thenStart, causeReload)
	} else {
		c.bringUp(now, i, causeReload)
	}
}

// bringUp starts an instance that is not up, as soon as nothing of it lives.
func (c *core) bringUp(now time.Time, i *instance, cause string) {
	i.wanted, i.changed = true, true
	switch {
	case i.up():
	case i.phase == stopping:
		i.then = thenStart
	case i.lives():
		c.stop(now, i, i.live.StopTimeout, thenStart, cause)
	default:
		c.start(i)
	}
}

// drop ends an instance for good.
func (c *core) drop(now time.Time, i *instance) {
	if !i.lives() {
		c.remove(i)
		return
	}
	i.wanted, i.changed = false, true
	c.pending.open[i] = true
	c.stop(now, i, i.live.StopTimeout, thenRemove, causeRemoved)
	c.overrule(i, wrongRemoved)
}

// settleApply answers the apply when all that it touched has come to rest.
func (c *core) settleApply() {
	if c.pending == nil {
		return
	}
	for i := range c.pending.open {
		if c.byKey[i.key] == i && (i.phase == stopping || c.due(i.id())) {
			return
		}
		delete(c.pending.open, i)
	}
	c.answerApply()
}

func (c *core) answerApply() {
	p := c.pending
	if p == nil {
		return
	}
	c.pending = nil
	c.do(record{level: slog.LevelInfo, event: "companions.applied", message: "companions applied", attrs: []slog.Attr{
		slog.Any("added", p.change.Added), slog.Any("removed", p.change.Removed),
		slog.Any("restarted", p.change.Restarted), slog.Any("unchanged", p.change.Unchanged),
	}})
	c.do(send{link.Message{Applied: &link.Applied{ID: p.id, Change: p.change}}})
}
