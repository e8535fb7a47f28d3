package arbiter

import (
	"log/slog"
	"maps"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/config"
)

// judge holds a history to the laws. It goes by what it has seen of the world
// itself; of the core it asks only what is wanted: how many workers, which
// generation, how far a reload is.
type judge struct {
	w       *world
	event   event // under way
	facts   int   // so far
	lives   map[id]*life
	books   map[int]*book
	configs map[int]*config.Config // by generation, as they were handed in

	inService  map[int]id  // before the event, the slots with a worker in service
	scaled     bool        // during the present reload
	rolling    *generation // before the event, what is rolled in; nil = nothing
	companions bool        // before the event, some were configured
	failing    *failing    // the failure that the event is
	open       map[int]bool
	only       bool // the reload is for companions alone
	target     int  // workers that the reload ends with
	numbers    int  // the highest number that a generation ever had
	anyServed  bool
	answers    map[uint64]int

	signaled  bool      // a stop was, by a signal
	quickAt   time.Time // a quick stop was asked for
	stoppedAt time.Time // the stop signals were sent
	sentAt    time.Time // they, or those of a quick stop
	sentWith  int       // the fact with which they were
	finished  bool

	bossAt       time.Time // when the last manager was seen dead
	bossBegan    time.Time
	bossFailures int
	bossUntil    time.Time         // before that the next one does not start; zero = no backoff
	bossCame     bool              // that moment
	bossAsked    time.Time         // it was asked to end
	bossKilled   bool              // after its window
	adopted      map[int]time.Time // groups of a dead manager that were not killed

	upgrading, younger, told, promoted bool
}

// life is what was done to a worker.
type life struct {
	generation                       int
	started, stopped, aborted, alone time.Time // zero = was not; alone: its leader's end was seen
	beat, readyAt                    time.Time
	heard                            time.Time // from when its silence counts
	silent                           time.Time // when it has been silent for too long; zero = its heartbeat is not watched
	turned                           int       // the fact with which the last of them came
	signals                          map[syscall.Signal]int
	killed, ready, recycled          bool
	gone                             bool // its end was seen, and that of its group
}

// book is what is known of a slot.
type book struct {
	attempts int
	served   bool      // had a ready worker
	failures int       // in a row
	until    time.Time // before that it does not start; zero = no backoff
	came     bool      // that moment
	recycle  time.Time // before that nobody is tried in the place of the serving one again
	was      *generation
}

// failing is a worker that ended though nobody wanted it to.
type failing struct {
	slot     int
	up       time.Duration
	recycled bool // it was to replace one that serves
	recorded bool
}

func newJudge(w *world, cfg *config.Config) *judge {
	return &judge{
		w: w, lives: map[id]*life{}, books: map[int]*book{}, configs: map[int]*config.Config{1: cfg},
		open: map[int]bool{1: true}, numbers: 1, answers: map[uint64]int{}, adopted: map[int]time.Time{}, inService: map[int]id{},
	}
}

func (j *judge) breach(broken law, format string, args ...any) {
	j.w.tale.Broken(broken, format, args...)
}

func (j *judge) book(slot int) *book {
	p := j.books[slot]
	if p == nil {
		p = &book{}
		j.books[slot] = p
	}
	return p
}

// config is the one a worker was started with.
func (j *judge) config(f *life) *config.Config { return j.configs[f.generation] }

// serves says whether the worker takes requests, and nobody has ended it.
func (f *life) serves() bool {
	return f.ready && f.stopped.IsZero() && f.aborted.IsZero() && !f.killed && f.alone.IsZero()
}

// hears looks at a fact that the core is about to be told.
func (j *judge) hears(e event) {
	c := j.w.core
	j.event, j.failing = e, nil
	j.facts++
	j.rolling, j.companions = nil, len(c.config.Companions) > 0
	if c.reload.rolling() {
		j.rolling = c.reload.generation
	}
	clear(j.inService)
	for a, f := range j.lives {
		if o := c.find(a); f.serves() && !o.successor { // one on trial may go again
			j.inService[a.slot] = a
		}
	}
	for _, s := range c.slots {
		j.book(s.number).was = s.generation
	}
	switch e := e.(type) {
	case stopAsked:
		if j.quickAt.IsZero() && (e.quick || j.signaled && e.token == 0) {
			j.quickAt = j.w.now
		}
		j.signaled = j.signaled || e.token == 0
	case workerSaid:
		if f := j.lives[e.id]; f != nil && e.beat {
			f.beat, f.heard = j.w.now, time.Time{}
		}
	case workerExited:
		j.workerExits(e)
	case workerGroupEnded:
		j.buries(e.id)
	case managerExited:
		if m := &c.manager; m.leader && e.attempt == m.attempt {
			j.bossAt = j.w.now
		}
	case managerHeld:
		if m := &c.manager; m.leader && e.attempt == m.attempt {
			j.bossUntil, j.bossCame = j.w.now.Add(lookForHeld), false
		}
	case scaleAsked, parkAsked:
		j.scaled = true
	case configLoaded:
		if e.err != "" && e.token == 0 && c.reload.phase == reloadLoading && !c.reload.asked.only && e.number == j.numbers {
			j.numbers-- // it came to no generation
		}
		if e.err == "" && e.token == 0 && c.reload.phase == reloadLoading && !c.reload.asked.only && e.number < 9999 {
			j.open[e.number], j.scaled, j.configs[e.number], j.target = true, false, e.config, j.wants(e.config)
			for _, p := range j.books {
				p.recycle = time.Time{}
			}
		}
	case timePassed:
		j.looks()
	case upgradeStarted:
		j.upgrading, j.younger = false, j.younger || j.upgrading && e.err == ""
	case upgradeExited:
		j.younger = false
	}
}

// looks follows the clocks before the core does. What a look has found due is due,
// wherever the clock goes then.
func (j *judge) looks() {
	for _, p := range j.books {
		p.came = p.came || j.over(p.until, 0)
		if j.over(p.recycle, 0) {
			p.recycle = time.Time{}
		}
	}
	j.bossCame = j.bossCame || j.over(j.bossUntil, 0)
	for _, f := range j.lives {
		timeout := j.config(f).Worker.Timeout
		if !f.serves() || timeout <= 0 || f.beat.IsZero() {
			continue
		}
		from := f.beat
		if from.Before(f.readyAt) {
			from = f.readyAt
		}
		if at := from.Add(timeout); from != f.heard {
			f.heard, f.silent = from, at
		}
		if j.w.now.Sub(f.silent) > unwatched {
			f.silent = j.w.now.Add(timeout)
			j.w.census.Saw("silence that does not count")
		}
	}
}

// workerExits notes the end of a leader, and whether it is a failure of its slot.
func (j *judge) workerExits(e workerExited) {
	f, c := j.lives[e.id], j.w.core
	if f == nil || !f.alone.IsZero() {
		return
	}
	f.alone, f.turned = j.w.now, j.facts
	o, s := c.find(e.id), c.slots[e.slot-1]
	up := time.Duration(0)
	if f.ready {
		up = j.w.now.Sub(f.started)
	}
	held := false // by another one, be it the successor that was to replace it
	for _, b := range s.workers {
		held = held || b != o && b.leader && !b.asked && (!b.successor || b.serves() && b.generation == s.generation)
	}
	switch {
	case !f.stopped.IsZero(), c.stop.sent, o.successor && c.stop.asked:
	case o.successor:
		if o.generation != j.rolling && s.recycle != "" && o.generation == s.generation {
			j.failing = &failing{slot: e.slot, up: up, recycled: true}
		}
	default:
		j.book(e.slot).recycle = time.Time{} // nobody is replaced any more
		if s.number > c.count || held {
			break
		}
		j.failing = &failing{slot: e.slot, up: up}
	}
	if !e.groupAlive {
		j.buries(e.id)
	}
}

// buries forgets a worker of which nothing lives, but not that it was.
func (j *judge) buries(a id) {
	if f := j.lives[a]; f != nil && !f.alone.IsZero() {
		f.gone = true
	}
}

// tooLate says whether an order is about an upgrade that was refused because all ends.
// Nobody waits for it any more: who asked has been told that gofork has stopped.
func (j *judge) tooLate(a action) bool {
	if _, ok := j.event.(upgradeStarted); !ok {
		return false
	}
	switch a.(type) {
	case record, reply:
		return true
	}
	return false
}

// sees looks at an order, before anything comes of it.
func (j *judge) sees(a action) {
	if j.finished && !j.tooLate(a) {
		j.breach(lawFinish, "ordered after the end: %T", a)
	}
	switch a := a.(type) {
	case startWorker:
		j.startsWorker(a)
	case signalWorker:
		j.signalsWorker(a)
	case signalWorkerGroup:
		j.signalsGroup(a)
	case startManager:
		j.startsManager()
	case signalManager:
		j.killsManager()
	case tellManager:
		j.tellsManager(a)
	case watchAdopted:
		j.adopted[a.group] = j.w.now
	case signalAdopted:
		j.signalsAdopted(a)
	case loadConfig:
		j.loads(a)
	case retireListeners:
		j.retires(a)
	case closeListeners:
		j.closes(a)
	case startUpgrade:
		j.startsUpgrade()
	case tellParent:
		j.tellsParent()
	case promote:
		j.promotes()
	case record:
		j.reads(a)
	case reply:
		j.replies(a)
	case finish:
		j.finishes()
	}
}

// after looks at what the core has made of the fact.
func (j *judge) after(e event) {
	c := j.w.core
	j.keepsWorkersInService()
	if _, ok := e.(timePassed); ok {
		j.endsInTime()
		j.watchesHeartbeats()
	}
	j.countsFailures()
	maps.DeleteFunc(j.lives, func(_ id, f *life) bool { return f.gone })
	for _, s := range c.slots {
		p := j.book(s.number)
		switch {
		case s.number > c.count:
			p.until, p.recycle = time.Time{}, time.Time{}
		case j.rolling != nil && s.generation == j.rolling && p.was != j.rolling:
			p.failures, p.until, p.recycle = 0, time.Time{}, time.Time{} // replaced by the reload
			j.w.census.Saw("a slot goes over to the next generation")
		}
	}
	if c.manager.phase == managerNone {
		j.bossUntil = time.Time{}
	}
}

// reads takes in what a record tells.
func (j *judge) reads(a record) {
	j.w.census.Saw("record " + a.event)
	switch a.event {
	case "worker.ready":
		f := j.lives[idIn(a)]
		f.ready, f.readyAt = true, j.w.now
		j.book(idIn(a).slot).served = true
		j.anyServed = true
	case "worker.recycled":
		j.lives[idIn(a)].recycled = true
	case "worker.backoff":
		j.workerWaits(a)
	case "manager.backoff":
		j.managerWaits(a)
	case "workers.scaled":
		if n := value(a, "new").Int64(); n != value(a, "old").Int64() && value(a, "by").String() != causeReload {
			j.target = int(n)
		}
	case "reload.done":
		j.reloads()
	case "reload.failed":
		j.reloadFails()
	case "server.stopping":
		j.stopsForAReason(a)
	}
}

func value(a record, key string) slog.Value {
	for _, at := range a.attrs {
		if at.Key == key {
			return at.Value
		}
	}
	return slog.Value{}
}

func idIn(a record) id {
	return id{int(value(a, "slot").Int64()), int(value(a, "attempt").Int64())}
}

// over says whether a window that began then has ended; zero = it has not begun.
func (j *judge) over(from time.Time, window time.Duration) bool {
	return !from.IsZero() && !j.w.now.Before(from.Add(window))
}
