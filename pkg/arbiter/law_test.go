package arbiter

import (
	"slices"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/historytest"
)

// law is one sentence of the specification of the core: it holds at every moment of
// every history. Below, each stands above the function that judges it; what it looks
// like when the core breaks it is in mutation_test.go.
type law = historytest.Law

const (
	lawPlace       law = "a slot has one worker that serves and at most one successor beside it; no attempt is made twice"
	lawSurge       law = "there are never more workers than the count and the surge"
	lawCount       law = "neither a reload, be it good or bad, nor recycling, scaling or a fault of others takes a wanted slot out of service"
	lawReload      law = "a reload that is done has left no worker of another generation in service, and one that failed, if the surge was enough for all, none of its own"
	lawScale       law = "what users have scaled to holds until the file's own count changes"
	lawStart       law = "a worker starts only while gofork is to go on, and with its generation's sockets"
	lawStopSignal  law = "a worker gets one stop signal, and another one only when a stop becomes quick"
	lawKill        law = "a worker is killed once, and at the end of a window"
	lawStopEnds    law = "every stop ends: what lives at the end of its window is killed"
	lawHeartbeat   law = "SIGABRT comes when a heartbeat was silent for its timeout, and silence while the arbiter stood still does not count"
	lawBackoff     law = "a slot that fails, and a manager that dies, starts again after the delay of the formula, neither earlier nor later"
	lawRest        law = "what can be done is done at once: at rest, nothing but a new fact brings an order"
	lawForgotten   law = "a wanted slot has a worker or a moment at which it gets one, and so has the manager"
	lawClocks      law = "a phase has one deadline, and leaving the phase clears it"
	lawListeners   law = "listeners are open for those who use them, and for nobody else"
	lawNumber      law = "the number of a generation is never used again"
	lawManager     law = "a manager starts only when nothing lives of the one before, nor of an older arbiter's"
	lawManagerKill law = "a manager is asked to end only when all ends or nothing is left to run, and killed only at the end of its window"
	lawAdopted     law = "companions are touched only when their manager is dead, and killed only at the end of their window"
	lawApart       law = "a fault of workers does not reach the manager, nor the other way round; all ends only for a boot that failed and an essential companion"
	lawAnswer      law = "every request is answered once"
	lawStatus      law = "a status is one picture, and complete"
	lawSibling     law = "one younger arbiter at a time, none beside an older one, in a container's first process, in a reload or a stop"
	lawUnlink      law = "the paths of sockets stay while another arbiter serves on them"
	lawPromotion   law = "an upgrade says once that it serves, and takes over once, when the older arbiter is gone"
	lawFinish      law = "the end comes once, within the budget, and when nothing lives"
)

// laws are all of them.
func laws() []law {
	return []law{
		lawPlace, lawSurge, lawCount, lawReload, lawScale, lawStart, lawStopSignal, lawKill, lawStopEnds, lawHeartbeat, lawBackoff,
		lawRest, lawForgotten, lawClocks, lawListeners, lawNumber, lawManager, lawManagerKill, lawAdopted, lawApart,
		lawAnswer, lawStatus, lawSibling, lawUnlink, lawPromotion, lawFinish,
	}
}

// A worker starts in a slot that has nobody else in it, or one that serves and is
// to be replaced. A reload never makes more workers than max_surge beyond the count,
// old or new; recycling, one or a tenth.
func (j *judge) startsWorker(a startWorker) {
	c := j.w.core
	if !j.stoppedAt.IsZero() {
		j.breach(lawStart, "worker %v starts after the stop", a.id)
	}
	if !j.open[a.generation.number] {
		j.breach(lawStart, "worker %v starts without the sockets of generation %d", a.id, a.generation.number)
	}
	p := j.book(a.slot)
	if p.attempts++; a.attempt != p.attempts {
		j.breach(lawPlace, "attempt %v is made, after %d", a.id, p.attempts-1)
	}
	successor := false
	if o := c.find(a.id); o != nil {
		successor = o.successor
	}
	all, beside := 1, 0
	for b, f := range j.lives {
		if !f.alone.IsZero() {
			continue
		}
		all++
		if b.slot != a.slot || !f.stopped.IsZero() || !f.aborted.IsZero() || f.killed {
			continue
		}
		beside++
		if f.generation == a.generation.number && !f.recycled {
			j.breach(lawPlace, "%v starts beside %v, which nobody replaces", a.id, b)
		}
	}
	if beside > 1 {
		j.breach(lawPlace, "%v starts beside %d others of its slot", a.id, beside)
	}
	r := &c.reload
	switch next := j.configs[a.generation.number]; {
	case j.w.steady:
		if all > c.count+j.w.surge {
			j.breach(lawSurge, "%d workers, want at most %d and %d", all, c.count, j.w.surge)
		}
	case successor && r.rolling() && a.generation == r.generation && !j.scaled:
		if surge := next.Worker.MaxSurge.Of(r.target); all > max(c.count, r.target)+surge {
			j.breach(lawSurge, "a reload makes %d workers, want at most %d and %d", all, max(c.count, r.target), surge)
		}
	}
	switch {
	case !successor && !p.came && j.w.now.Before(p.until):
		j.breach(lawBackoff, "%v starts %v too early", a.id, p.until.Sub(j.w.now))
	case successor && !r.rolling() && j.w.now.Before(p.recycle):
		j.breach(lawBackoff, "%v is tried %v too early", a.id, p.recycle.Sub(j.w.now))
	}
	if j.inManagersEvent() {
		j.breach(lawApart, "%T starts worker %v", j.event, a.id)
	}
	if !successor {
		p.until, p.came = time.Time{}, false
	}
	j.lives[a.id] = &life{generation: a.generation.number, started: j.w.now, turned: j.facts, signals: map[syscall.Signal]int{}}
}

// A slot that is wanted and in service stays in service, unless its worker dies or
// hangs: a reload that succeeds or fails, a recycling, scaling never make it less.
func (j *judge) keepsWorkersInService() {
	c := j.w.core
	if c.stop.sent {
		return
	}
	for slot, a := range j.inService {
		f := j.lives[a]
		if slot > c.count || !f.alone.IsZero() || !f.aborted.IsZero() || f.serves() {
			continue
		}
		kept := false
		for b, g := range j.lives {
			kept = kept || b.slot == slot && g.serves()
		}
		if !kept {
			j.breach(lawCount, "%T takes slot %d out of service", j.event, slot)
		}
	}
}

// A reload has its result when the new generation serves alone, with as many workers
// as the file has; or as there were, when the file has not changed that, or as users
// have asked for meanwhile.
func (j *judge) reloads() {
	c := j.w.core
	if j.only {
		return
	}
	for a, f := range j.lives {
		if f.serves() && f.generation != c.generation.number {
			j.breach(lawReload, "%v of generation %d serves, and %d was loaded", a, f.generation, c.generation.number)
		}
	}
	if c.count != j.target {
		j.breach(lawScale, "%d workers after the reload, want %d", c.count, j.target)
	}
}

// A reload whose surge is enough for all workers at once is all or nothing, but when
// a stop cuts it off: that ends them all.
func (j *judge) reloadFails() {
	if j.w.core.stop.asked || j.rolling == nil || j.scaled || j.rolling.worker() == nil || j.rolling.worker().MaxSurge.Of(j.target) < j.target {
		return
	}
	for a, f := range j.lives {
		if f.serves() && f.generation == j.rolling.number {
			j.breach(lawReload, "%v of generation %d serves, and the reload has failed", a, f.generation)
		}
	}
	j.w.census.Saw("a reload that takes all back")
}

// wants is how many workers there are to be when a configuration serves.
func (j *judge) wants(next *config.Config) int {
	now := j.w.core.config.Worker
	switch parked := j.w.core.upgrade.parked; {
	case next.Worker == nil:
		return 0
	case now == nil, now.Count != next.Worker.Count:
		return next.Worker.Count
	case j.w.core.count == 0 && parked > 0: // a reload brings them back
		return parked
	default:
		return j.w.core.count
	}
}

// A worker that is asked to end gets the stop signal of its configuration once.
// A quick stop says SIGQUIT, once more to who had the other. What lost its heartbeat
// gets SIGABRT. Asking to reopen files ends nobody.
func (j *judge) signalsWorker(a signalWorker) {
	f := j.lives[a.id]
	if f == nil || !f.alone.IsZero() {
		j.breach(lawStopSignal, "%v is gone and gets %v", a.id, a.signal)
	}
	if _, ok := j.event.(reopenAsked); ok && a.signal == syscall.SIGHUP {
		return
	}
	if f.signals[a.signal]++; f.signals[a.signal] > 1 {
		j.breach(lawStopSignal, "%v gets %v twice", a.id, a.signal)
	}
	switch a.signal {
	case syscall.SIGTERM:
		if f.signals[syscall.SIGQUIT] > 0 {
			j.breach(lawStopSignal, "%v gets SIGTERM after SIGQUIT", a.id)
		}
	case syscall.SIGQUIT:
		if j.quickAt.IsZero() {
			j.breach(lawStopSignal, "%v gets SIGQUIT, and no stop is quick", a.id)
		}
	case syscall.SIGABRT:
		now := j.w.now
		if _, ok := j.event.(timePassed); !ok || f.silent.IsZero() || now.Before(f.silent) || now.Sub(f.silent) > unwatched {
			j.breach(lawHeartbeat, "%v gets SIGABRT, silent for too long at %v", a.id, f.silent)
		}
		f.aborted, f.turned = now, j.facts
		return
	}
	if j.inManagersEvent() && !j.w.core.stop.asked {
		j.breach(lawApart, "%T stops worker %v", j.event, a.id)
	}
	if f.stopped.IsZero() {
		f.stopped, f.turned = j.w.now, j.facts
	}
}

// SIGKILL goes to the whole group, once, when the window is over that the worker
// has: boot_timeout, abort_grace, graceful_timeout, the window of a quick stop. A
// group gets a stop signal only when its leader has left it behind.
func (j *judge) signalsGroup(a signalWorkerGroup) {
	f := j.lives[a.id]
	if f == nil || f.killed {
		j.breach(lawKill, "the group of %v is gone or killed and gets %v", a.id, a.signal)
	}
	if a.signal != syscall.SIGKILL {
		if f.alone.IsZero() {
			j.breach(lawStopSignal, "the group of %v gets %v while its leader lives", a.id, a.signal)
		}
		return
	}
	f.killed = true
	cfg, graceful := j.config(f).Worker, j.config(f).Server.GracefulTimeout
	switch {
	case !f.ready && j.over(f.started, cfg.BootTimeout):
	case j.over(f.aborted, cfg.AbortGrace):
	case j.over(f.stopped, graceful), j.over(f.alone, graceful), j.over(j.quickAt, quickWindow):
	case !f.alone.IsZero() && j.over(j.stoppedAt, graceful):
	default:
		j.breach(lawKill, "%v is killed before the end of a window", a.id)
	}
	j.w.census.Saw("a worker is killed")
}

// Each of these windows ends: whoever looks at the clock behind it finds the worker
// killed, or gone.
func (j *judge) endsInTime() {
	for a, f := range j.lives {
		if f.killed || f.turned == j.facts {
			continue
		}
		cfg, graceful := j.config(f).Worker, j.config(f).Server.GracefulTimeout
		asked := !f.stopped.IsZero() || !f.aborted.IsZero() || !f.alone.IsZero()
		if !j.quickAt.IsZero() {
			graceful = max(graceful, quickWindow) // what a quick stop leaves to everybody
		}
		switch {
		case !f.ready && !asked && j.over(f.started, cfg.BootTimeout):
			j.breach(lawStopEnds, "%v boots %v after its start", a, j.w.now.Sub(f.started))
		case f.alone.IsZero() && j.over(f.aborted, cfg.AbortGrace):
			j.breach(lawStopEnds, "%v lives %v after SIGABRT", a, j.w.now.Sub(f.aborted))
		case (f.aborted.IsZero() || !f.alone.IsZero()) && !j.sentAt.IsZero() && j.over(j.stopsFrom(f), graceful):
			j.breach(lawStopEnds, "%v lives %v after the stop signals", a, j.w.now.Sub(j.sentAt))
		case j.over(f.stopped, graceful), f.stopped.IsZero() && j.over(f.alone, graceful), asked && j.over(j.quickAt, quickWindow):
			j.breach(lawStopEnds, "%v lives after its window", a)
		}
	}
	for n, at := range j.adopted {
		if g := j.w.groups[n]; g != nil && (j.over(at, max(g.spec.StopTimeout, strayWindow)) || !j.quickAt.IsZero() && j.over(later(at, j.quickAt), quickWindow)) {
			j.breach(lawStopEnds, "group %d lives %v after its manager's end", n, j.w.now.Sub(at))
		}
	}
}

// stopsFrom is the beginning of the window that a stop of all leaves to a worker:
// what its leader has used of it is not given again to those that outlive it.
func (j *judge) stopsFrom(f *life) time.Time {
	from := later(j.sentAt, f.stopped)
	if f.turned < j.sentWith {
		from = later(from, f.alone) // when the clock went back in between
	}
	return from
}

// later is the later of two moments, of which zero has not come.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// A heartbeat counts from the first beat on, and from ready on at the earliest. When
// the arbiter looks too late, it was itself who stood still: the silence counts anew.
func (j *judge) watchesHeartbeats() {
	for a, f := range j.lives {
		timeout := j.config(f).Worker.Timeout
		if !f.serves() || timeout <= 0 || f.beat.IsZero() {
			continue
		}
		if !f.silent.IsZero() && !j.w.now.Before(f.silent) {
			j.breach(lawHeartbeat, "%v is silent, and nobody minds at %v", a, f.silent)
		}
	}
}

// A slot whose worker was ready starts again at once, and after 1, 2, 4 … 30 s when
// it goes on failing; one that never served waits from the first failure on. With
// 30 s of service the failures before are forgotten. Who cannot be replaced is tried
// again with the same delays.
func (j *judge) workerWaits(a record) {
	slot, n, delay := int(value(a, "slot").Int64()), int(value(a, "failures").Int64()), value(a, "delay").Duration()
	f, p := j.failing, j.book(slot)
	if f == nil || f.slot != slot || f.recorded {
		j.breach(lawBackoff, "slot %d waits, and has not failed", slot)
	}
	f.recorded = true
	if p.failures = p.next(f.up); n != p.failures {
		j.breach(lawBackoff, "slot %d has %d failures, want %d", slot, n, p.failures)
	}
	if p.served {
		n-- // the first replacement is at once, and is not a backoff
	}
	if want := formula(max(n, 1)); delay != want {
		j.breach(lawBackoff, "slot %d waits %v after %d failures, want %v", slot, delay, n, want)
	}
	if f.recycled {
		p.recycle = j.w.now.Add(delay)
	} else {
		p.until, p.came = j.w.now.Add(delay), false
	}
	if n > 2 {
		j.w.census.Saw("a slot that fails again and again")
	}
}

// next is the number of failures in a row with the one of a worker that served so long.
func (p *book) next(up time.Duration) int {
	if up >= retryReset {
		return 1
	}
	return p.failures + 1
}

// countsFailures sees that no failure passes without its delay.
func (j *judge) countsFailures() {
	f := j.failing
	if f == nil || f.recorded || j.w.core.stop.sent || j.w.core.stop.asked && !j.anyServed {
		return // or nobody starts again
	}
	p := j.book(f.slot)
	p.failures = p.next(f.up)
	if p.failures > 1 || !p.served || f.recycled {
		j.breach(lawBackoff, "slot %d starts again without a delay after %d failures", f.slot, p.failures)
	}
}

// A manager that died starts again after 1, 2, 4 … 30 s; one that has to wait for that
// of a killed gofork looks each second.
func (j *judge) managerWaits(a record) {
	delay := value(a, "delay").Duration()
	if _, held := j.event.(managerHeld); held {
		return
	}
	j.bossFailures++
	if j.w.now.Sub(j.bossBegan) >= 30*time.Second {
		j.bossFailures = 1
	}
	if want := formula(j.bossFailures); delay != want {
		j.breach(lawBackoff, "the manager waits %v after %d failures, want %v", delay, j.bossFailures, want)
	}
	j.bossUntil, j.bossCame = j.w.now.Add(delay), false
}

// formula is 1, 2, 4 … 30 s.
func formula(n int) time.Duration {
	d := time.Second
	for ; n > 1 && d < 30*time.Second; n-- {
		d *= 2
	}
	return min(d, 30*time.Second)
}

// When everything ordered was done: no slot is forgotten, and the manager neither.
func (j *judge) nobodyIsForgotten() {
	c, now := j.w.core, j.w.now
	_, looked := j.event.(timePassed)
	for _, s := range c.slots {
		if s.number > c.count || s.held() {
			continue
		}
		if s.retryAt.IsZero() && !s.queued && !c.stop.asked {
			j.breach(lawForgotten, "slot %d is forgotten", s.number)
		}
		if p := j.book(s.number); looked && j.over(p.until, 0) && !s.queued {
			j.breach(lawBackoff, "slot %d was to start %v ago", s.number, now.Sub(p.until))
		}
	}
	if len(c.slots) < c.count {
		j.breach(lawForgotten, "%d slots for %d workers", len(c.slots), c.count)
	}
	if r := &c.reload; r.phase == reloadIdle && (len(r.again) > 0 || len(c.upgrade.asked) > 0) {
		j.breach(lawForgotten, "what was asked for during a reload is not done")
	}
	m := &c.manager
	if c.reload.phase == reloadApplying && !m.leader {
		j.breach(lawForgotten, "a reload waits for a manager that is dead")
	}
	if len(c.config.Companions) == 0 || c.stop.asked || m.leader || len(m.adopted) > 0 || j.w.older {
		return
	}
	if m.deadline.IsZero() {
		j.breach(lawForgotten, "the manager is %q and will never start", m.phase)
	}
	if looked && j.over(j.bossUntil, 0) {
		j.breach(lawBackoff, "the manager was to start %v ago", now.Sub(j.bossUntil))
	}
}

// Nothing waits for the next fact by chance, as a reload that could go on would.
func (j *judge) rests() {
	c := j.w.core
	if due(c.earliest(), j.w.now) || c.finished {
		return
	}
	j.event = timePassed{}
	if actions := j.w.take(timePassed{}); len(actions) > 0 {
		j.breach(lawRest, "ordered because somebody looked: %q", said(actions))
	}
}

// What has a deadline has the one of its phase, and what has to end has one.
func (j *judge) deadlines() {
	c := j.w.core
	for _, s := range c.slots {
		for _, o := range s.workers {
			switch {
			case o.phase == killing && !o.deadline.IsZero():
				j.breach(lawClocks, "%v is killed and has a deadline", o.id)
			case (o.phase == booting || o.phase == draining || o.phase == aborting) && o.deadline.IsZero():
				j.breach(lawClocks, "%v is %s for ever", o.id, o.phase)
			case o.phase == ready && !o.deadline.IsZero() && (o.beatAt.IsZero() || o.deadline.Before(o.readyAt.Add(o.generation.worker().Timeout))):
				j.breach(lawClocks, "%v is ready and keeps the deadline of its boot", o.id)
			}
		}
		if s.held() && !s.retryAt.IsZero() {
			j.breach(lawClocks, "slot %d has a worker and waits for one", s.number)
		}
	}
	switch m := &c.manager; m.phase {
	case managerBackoff:
	case managerStopping:
		if m.deadline.IsZero() {
			j.breach(lawClocks, "the manager may take for ever to stop")
		}
	default:
		if !m.deadline.IsZero() {
			j.breach(lawClocks, "the manager is %q and has a deadline", m.phase)
		}
	}
	if c.reload.phase != reloadApplying && !c.reload.deadline.IsZero() {
		j.breach(lawClocks, "no manager is asked, and an answer is due")
	}
}

// Between two reloads the listeners are open of the generation that serves and of
// those whose workers went on when a reload failed half way.
func (j *judge) listeners() {
	c := j.w.core
	if c.reload.phase != reloadIdle {
		return
	}
	used := func(n int) bool {
		return n == c.generation.number || slices.ContainsFunc(c.slots, func(s *slot) bool { return s.number <= c.count && s.generation.number == n })
	}
	for n := range j.open {
		if !used(n) && j.w.steady { // scaling may take the last user away: until the next reload
			j.breach(lawListeners, "the listeners of generation %d stay open", n)
		}
	}
	for _, s := range c.slots {
		if s.number <= c.count && !j.open[s.generation.number] {
			j.breach(lawListeners, "the listeners of generation %d are closed", s.generation.number)
		}
	}
	if !j.open[c.generation.number] {
		j.breach(lawListeners, "the listeners of generation %d are closed, and it serves", c.generation.number)
	}
}

func (j *judge) retires(a retireListeners) {
	for n := range j.open {
		if !slices.Contains(a.keep, n) {
			delete(j.open, n)
		}
	}
}

// A generation that has failed is not confused with the next. What a bad file or an
// address in use has refused is none.
func (j *judge) loads(a loadConfig) {
	if !a.dry {
		j.only = a.only
	}
	if a.dry || a.only {
		return
	}
	if a.number <= j.numbers {
		j.breach(lawNumber, "generation %d is used again", a.number)
	}
	j.numbers = a.number
}

// Companions never run twice: neither beside what a dead manager has left, nor
// beside those of an older arbiter.
func (j *judge) startsManager() {
	w := j.w
	switch {
	case w.core.stop.asked:
		j.breach(lawManager, "a manager starts during a stop")
	case w.boss != nil:
		j.breach(lawManager, "a manager starts beside another")
	case w.older:
		j.breach(lawManager, "a manager starts beside that of the older arbiter")
	case len(w.core.config.Companions) == 0 && !j.companions:
		j.breach(lawManager, "a manager starts without companions")
	case !j.bossCame && w.now.Before(j.bossUntil):
		j.breach(lawBackoff, "a manager starts %v too early", j.bossUntil.Sub(w.now))
	}
	for _, g := range w.groups {
		j.breach(lawManager, "a manager starts while group %d of %s lives", g.number, g.spec.Name)
	}
	j.bossKilled, j.bossBegan, j.bossUntil, j.bossAsked = false, w.now, time.Time{}, time.Time{}
}

// A manager ends by a word over the line; a signal is for one that does not hear.
func (j *judge) tellsManager(a tellManager) {
	if a.message.Stop == nil {
		return
	}
	if c := j.w.core; !c.stop.asked && len(c.config.Companions) > 0 {
		j.breach(lawManagerKill, "the manager is asked to end, and there are companions")
	}
	if j.bossAsked.IsZero() || j.w.now.Before(j.bossAsked) {
		j.bossAsked = j.w.now
	}
}

func (j *judge) killsManager() {
	window := max(j.w.core.config.Manager.StopTimeout, time.Second)
	if j.bossAsked.IsZero() || !j.over(j.bossAsked, window) && !j.over(j.quickAt, quickWindow) {
		j.breach(lawManagerKill, "the manager is killed %v after it was asked to end", j.w.now.Sub(j.bossAsked))
	}
	j.bossKilled = true
}

// A dead manager's companions have the windows they have always; a manager that had
// to be killed had them all already.
func (j *judge) signalsAdopted(a signalAdopted) {
	if j.w.boss != nil {
		j.breach(lawAdopted, "group %d is touched while its manager lives", a.group)
	}
	if a.signal != syscall.SIGKILL {
		if j.bossKilled {
			j.breach(lawAdopted, "group %d is asked to end once more", a.group)
		}
		return
	}
	delete(j.adopted, a.group)
	g := j.w.groups[a.group]
	if g == nil || j.bossKilled {
		return
	}
	stray := !g.reported && j.over(j.bossAt, strayWindow)
	all := max(j.w.core.config.Manager.StopTimeout, time.Second)
	if !j.over(j.bossAt, g.spec.StopTimeout) && !stray && !j.over(j.quickAt, quickWindow) && !j.over(j.stoppedAt, all) {
		j.breach(lawAdopted, "group %d is killed %v after its manager's end", a.group, j.w.now.Sub(j.bossAt))
	}
}

// inManagersEvent says whether the fact is about the manager or its companions, and
// nothing else.
func (j *judge) inManagersEvent() bool {
	switch j.event.(type) {
	case managerStarted, managerHeld, managerExited, managerSaid, adoptedExited, adoptedGroupEnded:
		return true
	}
	return false
}

// What is not a user's wish ends all in two cases: no worker was ever ready, or a
// companion has ended without which there is no point.
func (j *judge) stopsForAReason(a record) {
	if value(a, "by").String() != "gofork" {
		return
	}
	switch e := j.event.(type) {
	case workerExited:
		if j.anyServed {
			j.breach(lawApart, "all ends for worker %v, and others were ready", e.id)
		}
	case managerSaid:
		if e.message.Final == nil {
			j.breach(lawApart, "all ends for a message of the manager")
		}
	default:
		j.breach(lawApart, "all ends for %T", e)
	}
}

// Every request is answered exactly once; those that are beside the core when it
// ends (a dry run, an upgrade) are answered by its edge.
func (j *judge) replies(a reply) {
	if j.w.asked[a.token] == "" {
		j.breach(lawAnswer, "nobody asked for %d", a.token)
	}
	if j.answers[a.token]++; j.answers[a.token] > 1 {
		j.breach(lawAnswer, "the %s with token %d is answered twice", j.w.asked[a.token], a.token)
	}
	if s, ok := a.value.(*control.Status); ok {
		j.shows(s)
	}
}

func (j *judge) allAnswered() {
	for token, what := range j.w.asked {
		beside := (what == "dry run" || what == "upgrade") && j.answers[token] == 0
		if j.answers[token] != 1 && !beside {
			j.breach(lawAnswer, "the %s with token %d was answered %d times", what, token, j.answers[token])
		}
	}
}

// A status has every worker of which a leader lives once, and no more ready ones
// than are wanted.
func (j *judge) shows(s *control.Status) {
	if s.Workers.Configured != j.w.core.count || s.Workers.Ready > s.Workers.Configured {
		j.breach(lawStatus, "status shows %d of %d ready", s.Workers.Ready, s.Workers.Configured)
	}
	shown := map[id]int{}
	for _, o := range s.Workers.List {
		if o.PID != 0 {
			shown[id{o.Slot, o.Attempt}]++
		}
	}
	for a, c := range j.w.children {
		if c.lives() && shown[a] != 1 {
			j.breach(lawStatus, "status shows %v %d times", a, shown[a])
		}
	}
}

// There are at most two arbiters on the same sockets.
func (j *judge) startsUpgrade() {
	c := j.w.core
	switch {
	case j.upgrading || j.younger:
		j.breach(lawSibling, "a second younger arbiter is started")
	case j.w.older:
		j.breach(lawSibling, "a younger arbiter is started, and an older one lives")
	case c.pid == 1, c.reload.phase != reloadIdle, c.stop.asked:
		j.breach(lawSibling, "a younger arbiter is started by pid %d in phase %d of a reload, stop %v", c.pid, c.reload.phase, c.stop.asked)
	}
	j.upgrading = true
}

// The last one that serves on a unix socket removes its path.
func (j *judge) closes(a closeListeners) {
	clear(j.open)
	if others := j.younger || j.w.older; a.unlink == others {
		j.breach(lawUnlink, "unlink %v, another arbiter lives: %v", a.unlink, others)
	}
	if j.sentAt, j.sentWith = j.w.now, j.facts; j.stoppedAt.IsZero() {
		j.stoppedAt = j.w.now
	}
}

func (j *judge) tellsParent() {
	if j.told || !j.w.older {
		j.breach(lawPromotion, "it says that it serves: again %v, to somebody %v", j.told, j.w.older)
	}
	for _, s := range j.w.core.slots {
		if s.number <= j.w.core.count && !s.isReady() {
			j.breach(lawPromotion, "it says that it serves, and slot %d does not", s.number)
		}
	}
	j.told = true
}

func (j *judge) promotes() {
	if _, gone := j.event.(parentGone); !gone || j.promoted {
		j.breach(lawPromotion, "it takes over for %T, again %v", j.event, j.promoted)
	}
	j.promoted = true
}

// The end comes when nothing lives.
func (j *judge) finishes() {
	j.finished = true
	for _, c := range j.w.children {
		if c.lives() {
			j.breach(lawFinish, "worker %v outlives gofork", c.id)
		}
	}
	if j.w.boss != nil || len(j.w.groups) > 0 {
		j.breach(lawFinish, "the manager or its companions outlive gofork")
	}
}

// budget is what the longest stop of the world's configurations may take, and what
// comes behind a window that has ended.
const budget = 3*time.Second + 70*time.Second + 5*time.Second

// ended is what holds after the end of a stop that took so long.
func (j *judge) ended(took time.Duration) {
	if !j.finished {
		j.breach(lawFinish, "there was no end")
	}
	if took > budget {
		j.breach(lawFinish, "the stop took %v", took)
	}
	j.allAnswered()
}

// settled is what holds when everything ordered was done.
func (j *judge) settled() {
	j.deadlines()
	j.rests()
	if c := j.w.core; !c.stop.sent && !c.finished {
		j.nobodyIsForgotten()
		j.listeners()
	}
}
