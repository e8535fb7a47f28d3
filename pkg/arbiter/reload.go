package arbiter

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// reloadPhase is how far a reload has come.
//
//	idle ─► loading ─► rolling ─► applying ─► idle
//	           │          │
//	           └──────────┴─► idle: nothing, or no more, is changed
type reloadPhase int

const (
	reloadIdle     reloadPhase = iota
	reloadLoading              // the configuration is read, new listeners are opened
	reloadRolling              // workers of the new generation boot
	reloadApplying             // the manager changes its companions
)

// reload is the one reload under way, and what is left of the last.
type reload struct {
	phase    reloadPhase
	highest  int // number of the newest generation of which a worker was to boot
	asked    reloadAsked
	waiting  []uint64 // who waits for the result
	again    []reloadAsked
	started  time.Time
	deadline time.Time // of the manager's answer; zero = none

	generation *generation // that is rolled in
	target     int         // workers wanted once it serves
	from       int         // workers wanted before
	atomic     bool        // all of them are ready before any old one drains
	apply      uint64      // what the manager has to answer
	change     control.CompanionsChange
	later      []string // keys that differ and that only a restart of gofork takes up

	last *control.Reload
}

func (r *reload) rolling() bool { return r.phase == reloadRolling }

// askReload begins a reload, or notes that another has to follow the present one.
func (c *core) askReload(now time.Time, e reloadAsked) {
	switch {
	case c.stop.asked:
		if e.token != 0 {
			c.do(reply{e.token, control.Conflictf("cannot reload: gofork is stopping")})
		}
	case e.dry:
		c.do(loadConfig{token: e.token, dry: true, only: e.only, current: c.config})
	case c.reload.phase != reloadIdle:
		c.reload.again = append(c.reload.again, e)
	default:
		c.beginReload(now, []reloadAsked{e})
	}
}

// beginReload carries out what several may have asked for, once.
func (c *core) beginReload(now time.Time, asked []reloadAsked) {
	r := &c.reload
	*r = reload{phase: reloadLoading, highest: r.highest, last: r.last, started: now, asked: asked[0]}
	for _, e := range asked {
		r.asked.only = r.asked.only && e.only
		if e.token != 0 {
			r.waiting = append(r.waiting, e.token)
		}
	}
	number := c.generation.number
	if !r.asked.only {
		r.highest++
		number = r.highest
	}
	message := "hang up: reloading"
	if r.asked.only {
		message = "reading the companions again"
	}
	c.do(record{slog.LevelInfo, "reload.started", message, []slog.Attr{slog.String("by", r.asked.by), slog.Int("generation", number)}})
	c.do(tellSystemd{stateReloading})
	c.do(loadConfig{number: number, only: r.asked.only, current: c.config})
}

// configLoaded is the end of the part of a reload that can find fault with the
// files. From here on the reload is a value: another configuration.
func (c *core) configLoaded(now time.Time, e configLoaded) {
	if e.token != 0 {
		c.answerDry(now, e)
		return
	}
	r := &c.reload
	if r.phase != reloadLoading || e.number != c.loadingNumber() {
		return
	}
	if e.err != "" {
		if !r.asked.only {
			r.highest-- // nothing has had this number
		}
		c.failReload(now, e.err)
		return
	}
	if r.asked.only {
		next := *c.config
		next.Companions, next.Manager = e.config.Companions, e.config.Manager
		c.applyCompanions(now, &next)
		return
	}
	c.hook("on_reload")
	r.phase = reloadRolling
	r.generation = &generation{e.number, e.config, e.listeners}
	r.target = c.targetCount(e.config)
	r.from = c.count
	for len(c.slots) < r.target {
		c.slots = append(c.slots, &slot{number: len(c.slots) + 1, generation: c.generation})
	}
	for _, s := range c.slots {
		// A worker that was to be recycled is replaced all the same.
		s.recycle, s.recycleAt = "", time.Time{}
		if w := s.successor(); w != nil {
			c.drain(now, w, w.generation.worker().StopSignal, w.generation.config.Server.GracefulTimeout, causeReload)
		}
		if s.startOn {
			s.queued = false
		}
	}
}

func (c *core) answerDry(now time.Time, e configLoaded) {
	if e.err != "" {
		c.do(reply{e.token, control.Errorf(409, control.CodeConflict, "%s", e.err)})
		return
	}
	for i := range e.plan.Companions {
		p := &e.plan.Companions[i]
		if (p.Action == "restart" || p.Action == "signal") && c.manager.unwanted(p.Name) {
			p.Action = "none" // its next start takes the new spec up
		}
	}
	c.do(reply{e.token, &control.Reload{
		At: now, OK: true, Companions: planned(e.plan), Plan: e.plan, NeedsRestart: c.needsRestart(e.config),
	}})
}

// planned is what a plan comes to, in the words of a reload's result.
func planned(p *control.Plan) control.CompanionsChange {
	var change control.CompanionsChange
	for _, companion := range p.Companions {
		list := &change.Unchanged
		switch companion.Action {
		case "start":
			list = &change.Added
		case "stop":
			list = &change.Removed
		case "restart":
			list = &change.Restarted
		}
		*list = append(*list, companion.Name)
	}
	for _, list := range [][]string{change.Added, change.Removed, change.Restarted, change.Unchanged} {
		slices.Sort(list)
	}
	return change
}

func (c *core) loadingNumber() int {
	if c.reload.asked.only {
		return c.generation.number
	}
	return c.reload.highest
}

// targetCount is how many workers a configuration wants: what users have scaled
// to holds until the file's own count changes.
func (c *core) targetCount(next *config.Config) int {
	switch {
	case next.Worker == nil:
		return 0
	case c.upgrade.parked > 0 && c.count == 0 && c.config.Worker != nil && c.config.Worker.Count == next.Worker.Count:
		return c.upgrade.parked // back from WINCH
	case c.config.Worker == nil || c.config.Worker.Count != next.Worker.Count:
		return next.Worker.Count
	default:
		return c.count
	}
}

// applyCompanions hands the new specs to the manager, starts one, or ends it.
func (c *core) applyCompanions(now time.Time, next *config.Config) {
	r, m := &c.reload, &c.manager
	r.later = c.needsRestart(next)
	before := c.config
	c.config = next
	diff := config.Diff(before, next)
	r.phase = reloadApplying
	r.change = control.CompanionsChange{
		Added: listed(diff.Added), Removed: listed(diff.Removed), Restarted: listed(diff.Changed),
		Unchanged: listed(slices.Concat(diff.Unchanged, diff.Scaled)),
	}
	slices.Sort(r.change.Unchanged)
	switch {
	case m.leader && m.asked && len(next.Companions) > 0:
		c.endReload(now, "") // it ends: the next one applies them
	case m.leader && m.asked:
		// It ends, which is what is wanted.
	case len(next.Companions) == 0 && m.leader:
		m.asked = true
		m.enter(managerStopping, now.Add(max(before.Manager.StopTimeout, time.Second)))
		c.do(tellManager{m.attempt, link.Message{Stop: &link.Stop{}}})
	case len(next.Companions) == 0:
		c.noManager()
		c.endReload(now, "")
	case c.upgrade.parent != 0, c.stop.asked && !m.leader:
		c.endReload(now, "") // not yet: an older arbiter runs its own; or not any more
	case m.phase == managerNone && m.lives():
		m.enter(managerBackoff, time.Time{}) // until what the last one left has ended
		c.endReload(now, "")
	case m.phase == managerNone:
		c.startManager(now)
		r.apply = m.applies
	case m.leader:
		m.applies++
		r.apply = m.applies
		c.do(tellManager{m.attempt, link.Message{Apply: &link.Apply{ID: m.applies, Specs: next.Companions, Reload: true, Window: before.Manager.ReloadTimeout}}})
	default:
		m.expect(next)
		c.endReload(now, "") // in backoff: its next start applies them
	}
	if r.phase == reloadApplying {
		r.deadline = now.Add(applyWindow(before))
	}
}

// applyWindow is how long a manager may take to change its companions. It enforces
// the window of each; this one is for a manager that hangs.
func applyWindow(before *config.Config) time.Duration {
	m := &before.Manager
	longest := max(m.ReloadTimeout, m.StopTimeout, 10*time.Second)
	for i := range before.Companions {
		longest = max(longest, before.Companions[i].StopTimeout+m.ShutdownBuffer) // it may be taken out
	}
	return longest
}

// listed is a list that JSON writes as [] when it is empty.
func listed(names []string) []string { return append([]string{}, names...) }

// needsRestart are the keys that a reload to next does not take up: what is read
// once, where it differs from what gofork was started with; and what is settled
// when a socket is opened, where it changes now for sockets that stay.
func (c *core) needsRestart(next *config.Config) []string {
	now := config.Diff(c.config, next)
	stays := func(scheme string) bool {
		return slices.ContainsFunc(now.ListenersKept, func(bind string) bool { return strings.HasPrefix(bind, scheme) })
	}
	keys := []string{}
	for _, key := range now.Settings {
		switch key {
		case "server.backlog", "server.reuse_port":
			if stays("") {
				keys = append(keys, key)
			}
		case "server.unix_socket_mode":
			if stays("unix:") {
				keys = append(keys, key)
			}
		}
	}
	for _, key := range config.Diff(c.booted, next).Settings {
		switch table, _, _ := strings.Cut(key, "."); {
		case key == "log.access": // of workers, and these are new
		case table == "name", table == "control", table == "log", key == "server.pidfile", key == "server.runtime_dir", key == "server.chdir":
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// applied is the manager's answer.
func (c *core) applied(now time.Time, a *link.Applied) {
	r := &c.reload
	if r.phase != reloadApplying || a.ID != r.apply {
		return
	}
	r.change = a.Change
	c.endReload(now, "")
}

// managerLost ends what waits for a manager that is no more. The next one
// applies the configuration that is in force.
func (c *core) managerLost(now time.Time) {
	if c.reload.phase != reloadApplying {
		return
	}
	if len(c.config.Companions) == 0 {
		c.endReload(now, "")
		return
	}
	c.endReload(now, "the manager died while it applied the companions; it will be started again with the new ones")
}

func (c *core) reloadDue(now time.Time) {
	if due(c.reload.deadline, now) {
		c.endReload(now, "the manager has not answered in time; the new workers serve")
	}
}

// failReload takes back what has not been finished: the old generation, and the
// slots that had been replaced already, go on serving.
func (c *core) failReload(now time.Time, reason string) {
	r := &c.reload
	keep := []int{c.generation.number}
	for _, s := range c.slots {
		if s.startOn {
			s.queued = false
		}
		if w := s.successor(); w != nil {
			c.drain(now, w, w.generation.worker().StopSignal, w.generation.config.Server.GracefulTimeout, causeRollback)
		}
		if !slices.Contains(keep, s.generation.number) {
			keep = append(keep, s.generation.number)
		}
	}
	if r.rolling() {
		c.do(retireListeners{keep})
	}
	c.endReload(now, reason)
}

// endReload is the result, and what was asked for meanwhile.
func (c *core) endReload(now time.Time, failed string) {
	r := &c.reload
	c.recordReload(now, failed)
	if !c.stop.asked {
		c.do(tellSystemd{"READY=1\nSTATUS=running"})
	}
	c.answerReload(r.last)
	if c.stop.asked {
		c.refuseReloads()
		return
	}
	again := r.again
	*r = reload{highest: r.highest, last: r.last}
	if len(again) > 0 {
		c.beginReload(now, again)
		return
	}
	c.upgradeAfterReload()
}

// recordReload notes how a reload went.
func (c *core) recordReload(now time.Time, failed string) {
	r := &c.reload
	took := now.Sub(r.started)
	r.last = &control.Reload{At: now, OK: failed == "", Error: failed, Seconds: took.Seconds()}
	if failed == "" {
		r.last.Companions, r.last.NeedsRestart = r.change, r.later
		c.do(record{slog.LevelInfo, "reload.done", "reloaded", []slog.Attr{
			slog.Int("generation", c.generation.number), slog.Duration("took", took),
			slog.Any("added", r.change.Added), slog.Any("removed", r.change.Removed),
			slog.Any("restarted", r.change.Restarted), slog.Any("unchanged", r.change.Unchanged),
			slog.Any("needs_restart", r.later),
		}})
	} else {
		c.do(record{slog.LevelError, "reload.failed", failed, []slog.Attr{
			slog.Int("generation", c.generation.number), slog.Duration("took", took), slog.String("error", failed),
		}})
	}
}

func (c *core) answerReload(result any) {
	for _, token := range c.reload.waiting {
		c.do(reply{token, result})
	}
	c.reload.waiting = nil
}

// dropReload ends a reload because everything stops.
func (c *core) dropReload(now time.Time) {
	if c.reload.phase == reloadIdle {
		return
	}
	c.recordReload(now, "cut off: gofork is stopping")
	c.refuseReloads()
}

// refuseReloads tells who still waits, for this reload or the next, that gofork stops.
func (c *core) refuseReloads() {
	for _, e := range c.reload.again {
		if e.token != 0 {
			c.reload.waiting = append(c.reload.waiting, e.token)
		}
	}
	c.answerReload(control.Conflictf("cannot reload: gofork is stopping"))
	c.reload = reload{highest: c.reload.highest, last: c.reload.last}
	c.upgradeAfterReload() // refused
}
