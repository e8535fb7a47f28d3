package arbiter

import (
	"log/slog"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gofork/gofork/pkg/control"
)

// TestTheLawHoldsWhateverHappens runs generated lives of an arbiter to their end.
func TestTheLawHoldsWhateverHappens(t *testing.T) {
	for n := range 4 { // times the 100 lives of -rapid.checks
		t.Run(strconv.Itoa(n+1), rapid.MakeCheck(func(t *rapid.T) {
			w := newWorld(t)
			t.Repeat(w.deeds())
			w.end()
		}))
	}
}

// law is what holds at every moment, whatever happens. It judges orders by what it
// has seen of the world itself; of the core it asks only what is wanted: how many
// workers, which generation, how far a reload is.
type law struct {
	w     *world
	lives map[id]*life

	readySlots map[int]id   // before an event, the slots with a worker in service
	scaled     bool         // during the present reload
	companions bool         // before an event, some were configured
	open       map[int]bool // generations whose listeners are open
	numbers    int          // the highest number a reload ever had
	served     map[int]bool // slots that had a ready worker
	recycled   map[id]bool  // workers that are being replaced
	answers    map[uint64]int
	quickAt    time.Time // a quick stop was asked for
	stoppedAt  time.Time // the stop signals were sent
	killedBoss bool      // the manager was killed after its window
	bossAt     time.Time // when the last manager was seen dead
	adopted    map[int]time.Time
	finished   bool
}

// life is what was done to a worker.
type life struct {
	started, stopped, aborted, alone time.Time // zero = was not; alone: its leader's end was seen
	signals                          map[syscall.Signal]int
	killed                           bool
	ready                            bool
}

func newLaw(w *world) *law {
	return &law{
		w: w, lives: map[id]*life{}, open: map[int]bool{1: true}, numbers: 1, served: map[int]bool{},
		recycled: map[id]bool{}, answers: map[uint64]int{}, adopted: map[int]time.Time{},
	}
}

func (l *law) breach(format string, args ...any) { l.w.t.Fatalf(format, args...) }

// inService says whether the worker takes requests, and nobody has ended it.
func (l *law) inService(a id) bool {
	f := l.lives[a]
	return f != nil && f.ready && f.stopped.IsZero() && f.aborted.IsZero() && !f.killed && f.alone.IsZero()
}

func (l *law) before(e event) {
	l.readySlots = map[int]id{}
	l.companions = len(l.w.core.config.Companions) > 0
	for a := range l.lives {
		if o := l.w.core.find(a); l.inService(a) && !o.successor { // one on trial may go again
			l.readySlots[a.slot] = a
		}
	}
	switch e := e.(type) {
	case stopAsked:
		if l.quickAt.IsZero() && (e.quick || l.w.core.stop.asked) {
			l.quickAt = l.w.now
		}
	case workerExited:
		if f := l.lives[e.id]; f != nil && f.alone.IsZero() {
			f.alone = l.w.now
		}
	case managerExited:
		if m := &l.w.core.manager; m.leader && e.attempt == m.attempt {
			l.bossAt = l.w.now
		}
	case scaleAsked, parkAsked:
		l.scaled = true
	case configLoaded:
		if e.err == "" && e.token == 0 && l.w.core.reload.phase == reloadLoading && !l.w.core.reload.asked.only && e.number < 9999 {
			l.open[e.number], l.scaled = true, false
		}
	}
}

func (l *law) sees(a action) {
	if l.finished {
		l.breach("ordered after the end: %T", a)
	}
	switch a := a.(type) {
	case startWorker:
		l.startsWorker(a)
	case signalWorker:
		l.signalsWorker(a)
	case signalWorkerGroup:
		l.signalsGroup(a)
	case startManager:
		l.startsManager()
	case signalManager:
		l.killedBoss = true
		l.killsBoss()
	case signalAdopted:
		l.signalsAdopted(a)
	case loadConfig:
		l.loads(a)
	case retireListeners:
		l.retires(a)
	case closeListeners:
		l.open = map[int]bool{}
		if l.stoppedAt.IsZero() {
			l.stoppedAt = l.w.now
		}
	case record:
		l.reads(a)
	case reply:
		l.replies(a)
	case finish:
		l.finishes()
	}
}

// A worker starts only where one is wanted and its generation has its sockets;
// a slot has at most one worker that nobody has asked to end, and beside it one
// successor; a reload never makes more workers than count and surge.
func (l *law) startsWorker(a startWorker) {
	w := l.w
	if !l.stoppedAt.IsZero() {
		l.breach("worker %v starts after the stop", a.id)
	}
	if !l.open[a.generation.number] {
		l.breach("worker %v starts without the sockets of generation %d", a.id, a.generation.number)
	}
	if l.lives[a.id] != nil {
		l.breach("attempt %v is used twice", a.id)
	}
	all, beside := 1, 0
	for b, f := range l.lives {
		if !f.alone.IsZero() {
			continue
		}
		all++
		if b.slot != a.slot || !f.stopped.IsZero() || !f.aborted.IsZero() || f.killed {
			continue
		}
		beside++
		other := w.core.find(b)
		if other != nil && other.generation == a.generation && !l.recycled[b] {
			l.breach("%v starts beside %v, which nobody replaces", a.id, b)
		}
	}
	if beside > 1 {
		l.breach("%v starts beside %d others of its slot", a.id, beside)
	}
	r := &w.core.reload
	surge := 1
	if cfg := w.core.config.Worker; cfg != nil {
		surge = max(cfg.MaxSurge.Of(w.core.count), 1)
	}
	if w.steady && all > w.core.count+surge {
		l.breach("%d workers, want at most %d and %d", all, w.core.count, surge)
	}
	if r.rolling() && a.generation == r.generation && beside == 1 && !l.scaled {
		if most := max(w.core.count, r.target) + r.generation.worker().MaxSurge.Of(r.target); all > most {
			l.breach("a reload makes %d workers, want at most %d", all, most)
		}
	}
	l.lives[a.id] = &life{started: w.now, signals: map[syscall.Signal]int{}}
}

// A worker gets one stop signal, and SIGQUIT only when a stop is quick; SIGABRT
// once, when it had a heartbeat and lost it.
func (l *law) signalsWorker(a signalWorker) {
	f := l.lives[a.id]
	if f == nil || !f.alone.IsZero() {
		l.breach("%v is gone and gets %v", a.id, a.signal)
	}
	if f.signals[a.signal]++; f.signals[a.signal] > 1 {
		l.breach("%v gets %v twice", a.id, a.signal)
	}
	switch a.signal {
	case syscall.SIGTERM:
		if f.signals[syscall.SIGQUIT] > 0 {
			l.breach("%v gets SIGTERM after SIGQUIT", a.id)
		}
	case syscall.SIGQUIT:
		if l.quickAt.IsZero() {
			l.breach("%v gets SIGQUIT, and no stop is quick", a.id)
		}
	case syscall.SIGABRT:
		f.aborted = l.w.now
		return
	}
	if f.stopped.IsZero() {
		f.stopped = l.w.now
	}
}

// SIGKILL comes only at the end of a window, and once; a group gets a stop signal
// only when its leader has left it behind.
func (l *law) signalsGroup(a signalWorkerGroup) {
	f, now := l.lives[a.id], l.w.now
	if f == nil || f.killed {
		l.breach("the group of %v is gone or killed and gets %v", a.id, a.signal)
	}
	if a.signal != syscall.SIGKILL {
		if f.alone.IsZero() {
			l.breach("the group of %v gets %v while its leader lives", a.id, a.signal)
		}
		return
	}
	f.killed = true
	o := l.w.core.find(a.id)
	cfg, graceful := o.generation.worker(), o.generation.config.Server.GracefulTimeout
	over := func(from time.Time, window time.Duration) bool {
		return !from.IsZero() && !now.Before(from.Add(window))
	}
	switch {
	case !f.ready && over(f.started, cfg.BootTimeout):
	case over(f.aborted, cfg.AbortGrace):
	case over(f.stopped, graceful), over(f.alone, graceful), over(l.quickAt, quickWindow):
	case !f.alone.IsZero() && over(l.stoppedAt, graceful):
	default:
		l.breach("%v is killed before the end of a window", a.id)
	}
}

// A manager starts only when none lives and nothing of the one before does.
func (l *law) startsManager() {
	w := l.w
	if w.core.stop.asked {
		l.breach("a manager starts during a stop")
	}
	if w.boss != nil {
		l.breach("a manager starts beside another")
	}
	if len(w.core.config.Companions) == 0 && !l.companions {
		l.breach("a manager starts without companions")
	}
	for _, g := range w.groups {
		l.breach("a manager starts while group %d of %s lives", g.number, g.spec.Name)
	}
	l.killedBoss = false
}

func (l *law) killsBoss() {
	m := &l.w.core.manager
	if !m.asked {
		l.breach("a manager is killed that nobody asked to end")
	}
}

// Companions are touched only when their manager is dead, and killed only after
// their window, or when the manager was killed after its own.
func (l *law) signalsAdopted(a signalAdopted) {
	if l.w.boss != nil {
		l.breach("group %d is touched while its manager lives", a.group)
	}
	if a.signal != syscall.SIGKILL {
		l.adopted[a.group] = l.w.now
		return
	}
	g := l.w.groups[a.group]
	if g == nil || l.killedBoss {
		return
	}
	now := l.w.now
	over := func(from time.Time, window time.Duration) bool {
		return !from.IsZero() && !now.Before(from.Add(window))
	}
	stray := !g.reported && over(l.bossAt, strayWindow)
	if !over(l.bossAt, g.spec.StopTimeout) && !stray && !over(l.quickAt, quickWindow) && !over(l.stoppedAt, max(l.w.core.config.Manager.StopTimeout, time.Second)) {
		l.breach("group %d is killed %v after its manager's end", a.group, now.Sub(l.bossAt))
	}
}

// The number of a generation is never used again.
func (l *law) loads(a loadConfig) {
	if a.dry || a.only {
		return
	}
	if a.number <= l.numbers {
		l.breach("generation %d is used again", a.number)
	}
	l.numbers = a.number
}

func (l *law) retires(a retireListeners) {
	for n := range l.open {
		if !slices.Contains(a.keep, n) {
			delete(l.open, n)
		}
	}
}

// Every delay is the formula's.
func (l *law) reads(a record) {
	value := func(key string) slog.Value {
		for _, at := range a.attrs {
			if at.Key == key {
				return at.Value
			}
		}
		return slog.Value{}
	}
	switch a.event {
	case "worker.ready":
		slot, attempt := int(value("slot").Int64()), int(value("attempt").Int64())
		l.served[slot] = true
		l.lives[id{slot, attempt}].ready = true
	case "worker.recycled":
		l.recycled[id{int(value("slot").Int64()), int(value("attempt").Int64())}] = true
	case "worker.backoff":
		slot, n, delay := int(value("slot").Int64()), int(value("failures").Int64()), value("delay").Duration()
		if l.served[slot] {
			n-- // the first replacement is at once, and is not a backoff
		}
		if want := formula(max(n, 1)); delay != want {
			l.breach("slot %d waits %v after %d failures, want %v", slot, delay, n, want)
		}
	case "manager.backoff":
		if want := formula(int(value("failures").Int64())); value("delay").Duration() != want {
			l.breach("the manager waits %v, want %v", value("delay").Duration(), want)
		}
	}
}

// formula is 1, 2, 4 … 30 s.
func formula(n int) time.Duration {
	d := time.Second
	for ; n > 1 && d < 30*time.Second; n-- {
		d *= 2
	}
	return min(d, 30*time.Second)
}

// Every request is answered exactly once.
func (l *law) replies(a reply) {
	if l.w.asked[a.token] == "" {
		l.breach("nobody asked for %d", a.token)
	}
	if l.answers[a.token]++; l.answers[a.token] > 1 {
		l.breach("the %s with token %d is answered twice", l.w.asked[a.token], a.token)
	}
	if s, ok := a.value.(*control.Status); ok {
		l.shows(s)
	}
}

// A status is one picture, and complete.
func (l *law) shows(s *control.Status) {
	if s.Workers.Configured != l.w.core.count || s.Workers.Ready > s.Workers.Configured {
		l.breach("status shows %d of %d ready", s.Workers.Ready, s.Workers.Configured)
	}
	shown := map[id]int{}
	for _, o := range s.Workers.List {
		if o.PID != 0 {
			shown[id{o.Slot, o.Attempt}]++
		}
	}
	for a, c := range l.w.children {
		if c.lives() && shown[a] != 1 {
			l.breach("status shows %v %d times", a, shown[a])
		}
	}
}

// The end comes when nothing lives.
func (l *law) finishes() {
	l.finished = true
	for _, c := range l.w.children {
		if c.lives() {
			l.breach("worker %v outlives gofork", c.id)
		}
	}
	if l.w.boss != nil || len(l.w.groups) > 0 {
		l.breach("the manager or its companions outlive gofork")
	}
}

// A slot that is wanted and in service stays in service, unless its worker dies
// or hangs: a reload that succeeds or fails, a recycling, scaling never make it less.
func (l *law) after(e event) {
	c := l.w.core
	if c.stop.sent {
		return
	}
	for slot, a := range l.readySlots {
		f := l.lives[a]
		if slot > c.count || !f.alone.IsZero() || !f.aborted.IsZero() {
			continue
		}
		kept := false
		for b := range l.lives {
			kept = kept || b.slot == slot && l.inService(b)
		}
		if !kept {
			l.breach("%T takes slot %d out of service", e, slot)
		}
	}
}

// settled is what holds when everything ordered was done.
func (l *law) settled() {
	c := l.w.core
	l.deadlines()
	if c.stop.sent || c.finished {
		return
	}
	// No slot is forgotten: it has a worker, or a moment at which it gets one.
	for _, s := range c.slots {
		if s.number <= c.count && !s.held() && s.retryAt.IsZero() && s.startAt.IsZero() && !c.stop.asked && !l.endUnseen(s) {
			l.breach("slot %d is forgotten", s.number)
		}
	}
	if len(c.slots) < c.count {
		l.breach("%d slots for %d workers", len(c.slots), c.count)
	}
	// Listeners are open for those who use them, and for nobody else.
	if c.reload.phase == reloadIdle {
		want := map[int]bool{c.generation.number: true}
		for _, s := range c.slots {
			if s.number <= c.count {
				want[s.generation.number] = true
			}
		}
		for n := range want {
			if !l.open[n] {
				l.breach("the listeners of generation %d are closed", n)
			}
		}
		for n := range l.open {
			if !want[n] && l.w.steady { // scaling may take the last user away: until the next reload
				l.breach("the listeners of generation %d stay open", n)
			}
		}
	}
	// The manager is never forgotten either.
	m := &c.manager
	if len(c.config.Companions) > 0 && !c.stop.asked && !m.leader && m.deadline.IsZero() && len(m.adopted) == 0 {
		l.breach("the manager is %q and will never start", m.phase)
	}
}

func (l *law) endUnseen(s *slot) bool { return len(l.w.queue) > 0 }

// A phase has one deadline, and leaving it clears it.
func (l *law) deadlines() {
	c := l.w.core
	for _, s := range c.slots {
		for _, o := range s.workers {
			switch {
			case o.phase == killing && !o.deadline.IsZero():
				l.breach("%v is killed and has a deadline", o.id)
			case (o.phase == booting || o.phase == draining || o.phase == aborting) && o.deadline.IsZero():
				l.breach("%v is %s for ever", o.id, o.phase)
			case o.phase == ready && !o.deadline.IsZero() && (o.beatAt.IsZero() || o.deadline.Before(o.readyAt.Add(o.generation.worker().Timeout))):
				l.breach("%v is ready and keeps the deadline of its boot", o.id)
			}
		}
		if s.held() && !s.retryAt.IsZero() {
			l.breach("slot %d has a worker and waits for one", s.number)
		}
	}
	switch m := &c.manager; m.phase {
	case managerBackoff:
	case managerStopping:
		if m.deadline.IsZero() {
			l.breach("the manager may take for ever to stop")
		}
	default:
		if !m.deadline.IsZero() {
			l.breach("the manager is %q and has a deadline", m.phase)
		}
	}
	if c.reload.phase != reloadApplying && !c.reload.deadline.IsZero() {
		l.breach("no manager is asked, and an answer is due")
	}
}

// ended is what holds after the end of a stop that took so long.
func (l *law) ended(took time.Duration) {
	if !l.finished {
		l.breach("there was no end")
	}
	if took > 75*time.Second+3*time.Second {
		l.breach("the stop took %v", took)
	}
	for token, what := range l.w.asked {
		if l.answers[token] == 1 {
			continue
		}
		// What is beside the core when it ends is answered by the edge.
		if (what == "dry run" || what == "upgrade") && l.answers[token] == 0 {
			continue
		}
		l.breach("the %s with token %d was answered %d times", what, token, l.answers[token])
	}
}
