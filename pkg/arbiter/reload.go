package arbiter

import (
	"fmt"
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
	highest  int // number of the newest generation ever tried
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
		c.do(loadConfig{token: e.token, dry: true, current: c.config})
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
		c.answerDry(e)
		return
	}
	r := &c.reload
	if r.phase != reloadLoading || e.number != c.loadingNumber() {
		return
	}
	if e.err != "" {
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
			s.startAt = time.Time{}
		}
	}
}

func (c *core) answerDry(e configLoaded) {
	if e.err != "" {
		c.do(reply{e.token, control.Errorf(409, control.CodeConflict, "%s", e.err)})
		return
	}
	c.do(reply{e.token, &control.Reload{OK: true, Plan: e.plan}})
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

// advance moves on what waits for workers to become ready.
func (c *core) advance(now time.Time) {
	if c.stop.sent {
		return
	}
	if c.reload.rolling() {
		c.roll(now)
	}
	c.takeOver(now)
	c.recycleMore(now)
}

// roll starts workers of the new generation, as many as the surge allows, and
// lets old ones go as new ones are ready: one by one, or, when the surge is enough
// for all of them at once, only when all are.
func (c *core) roll(now time.Time) {
	r := &c.reload
	live, base := 0, max(c.count, r.target)
	complete := true
	if r.target > 0 {
		r.atomic = r.generation.worker().MaxSurge.Of(r.target) >= r.target
	}
	for _, s := range c.slots {
		live += len(s.workers)
		if s.startOn && !s.startAt.IsZero() {
			live++
		}
		if s.number <= c.count && !s.held() {
			live++ // its own next attempt, which waits for its turn or its delay
		}
		if w := s.successor(); s.number <= r.target && s.generation != r.generation && (w == nil || w.phase != ready) {
			complete = false
		}
	}
	for _, s := range c.slots[:r.target] {
		if s.generation == r.generation {
			continue
		}
		w := s.successor()
		if !s.replacing() && s.startAt.IsZero() && live < base+r.generation.worker().MaxSurge.Of(r.target) {
			live++
			c.startWorker(now, s, true)
			continue
		}
		// New slots are filled in order: should the reload fail, none below is empty.
		if w != nil && w.phase == ready && (complete || !r.atomic) && s.number <= c.count+1 {
			c.promote(now, s, w)
		}
	}
	for _, s := range c.slots[:r.target] {
		if s.generation != r.generation {
			return
		}
	}
	c.rolled(now)
}

// promote makes a ready successor the slot's worker and drains the one before it.
func (c *core) promote(now time.Time, s *slot, w *worker) {
	c.supersede(now, s, w, causeReload)
	s.generation = c.reload.generation
	s.retryAt = time.Time{}
	s.failures.Reset()
	if s.number > c.count {
		c.count = s.number
	}
}

// supersede gives the slot to its successor.
func (c *core) supersede(now time.Time, s *slot, w *worker, cause string) {
	old := s.serving()
	w.successor = false
	if old != nil || s.lastExit != nil {
		s.restarts++
	}
	s.recycle, s.recycleAt, s.startAt = w.recycle, time.Time{}, time.Time{}
	if old != nil {
		c.drain(now, old, old.generation.worker().StopSignal, old.generation.config.Server.GracefulTimeout, cause)
	}
}

// takeOver promotes successors of recycled workers.
func (c *core) takeOver(now time.Time) {
	if c.reload.rolling() {
		return
	}
	for _, s := range c.slots {
		if w := s.successor(); w != nil && w.phase == ready {
			c.supersede(now, s, w, causeRecycled)
		}
	}
}

// rolled is the moment from which the new generation serves.
func (c *core) rolled(now time.Time) {
	r := &c.reload
	c.generation = r.generation
	c.count = r.target
	if r.from != c.count {
		c.sayScaled(r.from, causeReload)
	}
	c.drainSurplus(now, causeReload)
	c.do(retireListeners{[]int{c.generation.number}})
	c.watchSources()
	c.applyCompanions(now, r.generation.config)
}

// applyCompanions hands the new specs to the manager, starts one, or ends it.
func (c *core) applyCompanions(now time.Time, next *config.Config) {
	r, m := &c.reload, &c.manager
	before := c.config
	c.config = next
	diff := config.Diff(before, next)
	r.phase = reloadApplying
	r.later = slices.DeleteFunc(listed(diff.Settings), func(key string) bool { return !fixed(key) })
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
		c.do(tellManager{m.attempt, link.Message{Apply: &link.Apply{ID: m.applies, Specs: next.Companions, Reload: !r.asked.only}}})
	default:
		c.endReload(now, "") // in backoff: its next start applies them
	}
	if r.phase == reloadApplying {
		// The manager enforces each companion's own window; this one is for a
		// manager that hangs.
		r.deadline = now.Add(max(before.Manager.ReloadTimeout, next.Manager.ReloadTimeout, before.Manager.StopTimeout, 10*time.Second))
	}
}

// listed is a list that JSON writes as [] when it is empty.
func listed(names []string) []string { return append([]string{}, names...) }

// fixed says whether a key is read once, at the start of gofork.
func fixed(key string) bool {
	switch table, _, _ := strings.Cut(key, "."); table {
	case "name", "control", "log":
		return true
	default:
		return key == "server.pidfile" || key == "server.runtime_dir" || key == "server.chdir"
	}
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

// successorFailed is the end of a worker that was to take another's place.
func (c *core) successorFailed(now time.Time, s *slot, w *worker, status exitStatus) {
	if c.reload.rolling() && w.generation == c.reload.generation {
		c.failReload(now, fmt.Sprintf("cannot reload: worker slot %d %s; generation %d goes on serving",
			s.number, failure(w, status), c.generation.number))
		return
	}
	if s.recycle == "" || w.generation != s.generation {
		return // what it was for is over: a reload failed or began, the old one died
	}
	delay := max(s.failures.Failed(s.policy(), w.service(now), c.random), retryInitial)
	s.recycleAt = now.Add(delay)
	c.do(record{slog.LevelWarn, "worker.backoff", "cannot replace worker, trying again later", []slog.Attr{
		slog.Int("slot", s.number), slog.Duration("delay", delay), slog.Int("failures", s.failures.Failures),
	}})
}

// failure says why a worker did not come up.
func failure(w *worker, s exitStatus) string {
	when := "exited before ready"
	if !w.readyAt.IsZero() {
		when = "exited before the others were ready"
	}
	switch {
	case w.cause == causeBootTimeout:
		return fmt.Sprintf("was not ready within boot_timeout (%s)", w.generation.worker().BootTimeout)
	case s.startError != "":
		return "did not start: " + s.startError
	case s.signal != 0:
		return when + ": signal " + signalName(s.signal)
	case s.code == codeLoadFailed:
		return when + ": app failed to load (code 4)"
	default:
		return fmt.Sprintf("%s: code %d", when, s.code)
	}
}

// failReload takes back what has not been finished: the old generation, and the
// slots that had been replaced already, go on serving.
func (c *core) failReload(now time.Time, reason string) {
	r := &c.reload
	keep := []int{c.generation.number}
	for _, s := range c.slots {
		if s.startOn {
			s.startAt = time.Time{}
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

// endReload tells the result to whoever wants to know.
func (c *core) endReload(now time.Time, failed string) {
	r := &c.reload
	took := now.Sub(r.started)
	r.last = &control.Reload{At: now, OK: failed == "", Error: failed, Seconds: took.Seconds()}
	if failed == "" {
		r.last.Companions = r.change
		c.do(record{slog.LevelInfo, "reload.done", "reloaded", []slog.Attr{
			slog.Int("generation", c.generation.number), slog.Duration("took", took),
			slog.Any("added", r.change.Added), slog.Any("removed", r.change.Removed),
			slog.Any("restarted", r.change.Restarted), slog.Int("unchanged", len(r.change.Unchanged)),
			slog.Any("needs_restart", r.later),
		}})
	} else {
		c.do(record{slog.LevelError, "reload.failed", failed, []slog.Attr{
			slog.Int("generation", c.generation.number), slog.Duration("took", took), slog.String("error", failed),
		}})
	}
	if !c.stop.asked {
		c.do(tellSystemd{"READY=1\nSTATUS=running"})
	}
	c.answerReload(r.last)
	if c.stop.asked {
		c.dropReload()
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

func (c *core) answerReload(result any) {
	for _, token := range c.reload.waiting {
		c.do(reply{token, result})
	}
	c.reload.waiting = nil
}

// dropReload forgets a reload because everything stops.
func (c *core) dropReload() {
	if c.reload.phase == reloadIdle {
		return
	}
	for _, e := range c.reload.again {
		if e.token != 0 {
			c.reload.waiting = append(c.reload.waiting, e.token)
		}
	}
	c.answerReload(control.Conflictf("cannot reload: gofork is stopping"))
	c.reload = reload{highest: c.reload.highest, last: c.reload.last}
	c.upgradeAfterReload() // refused
}
