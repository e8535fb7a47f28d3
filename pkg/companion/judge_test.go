package companion

import (
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// judge holds a history to the laws. It goes by what it has seen; of the core it asks
// where an instance stands.
type judge struct {
	w      *world
	arrows map[[2]phase]bool

	event event
	was   map[key]*instance // every instance before the step

	ordered  map[id]config.Companion // what an attempt runs
	signals  map[id]*signaled
	answers  map[uint64]int // by request
	applied  map[uint64]int
	stops    map[uint64][]id       // what lived when a stop was asked for, by request
	mirror   map[key]link.Instance // what the arbiter was told
	shown    map[key]instance      // of which the mirror is known to be true
	last     uint64                // the newest apply
	open     map[key]bool          // what it touched and what is on the way
	settled  bool                  // with the event it was answered
	down     map[key]bool          // what users have stopped
	came     map[key]bool          // of one in BACKOFF: the moment of its restart
	shut     bool
	quickAt  time.Time
	finished bool
	ended    map[id]time.Time // when the core heard of a leader's end
}

// signaled is what an attempt was sent.
type signaled struct {
	leader, group, kills int
	killAt               time.Time // not before
}

func newJudge(w *world, arrows map[[2]phase]bool) *judge {
	return &judge{
		w: w, arrows: arrows, was: map[key]*instance{},
		ordered: map[id]config.Companion{}, signals: map[id]*signaled{}, ended: map[id]time.Time{},
		answers: map[uint64]int{}, applied: map[uint64]int{}, stops: map[uint64][]id{}, open: map[key]bool{},
		mirror: map[key]link.Instance{}, shown: map[key]instance{}, down: map[key]bool{}, came: map[key]bool{},
	}
}

func (j *judge) broken(broken law, format string, args ...any) {
	j.w.tale.Broken(broken, format, args...)
}

// before is what an instance was, and whether it was at all.
func (j *judge) before(k key) (was *instance, known bool) {
	if i := j.was[k]; i != nil {
		return i, true
	}
	return &instance{}, false
}

// hears looks at a fact that the core is about to be told.
func (j *judge) hears(e event) {
	j.event, j.settled = e, false
	clear(j.was)
	copies := make([]instance, len(j.w.core.instances))
	for n, i := range j.w.core.instances {
		copies[n] = *i
		j.was[i.key] = &copies[n]
	}
	switch e := e.(type) {
	case shutdownAsked:
		j.shut = true
		if e.quick || !j.quickAt.IsZero() {
			j.quickAt = j.w.now
			for _, s := range j.signals {
				s.killAt = sooner(s.killAt, j.quickAt.Add(quickWindow))
			}
		}
	case actAsked:
		j.answers[e.ID] = 0
		for k, was := range j.was {
			target := k.name == e.Name && (e.Instance == 0 || e.Instance == k.number) && !(was.phase == stopping && was.then == thenRemove)
			if target && !j.shut && e.Op != opSignal {
				j.down[k] = e.Op == opStop
			}
		}
		if e.Op == opStop {
			j.stops[e.ID] = nil
			for _, p := range j.w.procs {
				// What is being taken out of the configuration is nobody's target.
				was, _ := j.before(p.key)
				removed := was.phase == stopping && was.then == thenRemove
				if p.name == e.Name && (e.Instance == 0 || e.Instance == p.number) && p.lives() && !removed {
					j.stops[e.ID] = append(j.stops[e.ID], p.id)
				}
			}
		}
	case applyAsked:
		j.applied[e.ID] = 0
		j.last, j.settled = e.ID, false
		clear(j.open)
		for _, r := range e.Remembered {
			k := key{r.Name, r.Instance}
			j.mirror[k], j.down[k] = r, r.Desired == control.Down
		}
	case processExited:
		if _, again := j.ended[e.id]; !again {
			j.ended[e.id] = j.w.now
			if e.groupAlive {
				j.w.census.Saw("members outlive their leader")
			}
		}
	}
}

// sees looks at an order, before anything comes of it.
func (j *judge) sees(a action) {
	switch a := a.(type) {
	case startProcess:
		j.startsAlone(a)
		j.startsWhenItMay(a)
	case signalProcess:
		if was, _ := j.before(a.key); a.signal == was.live.StopSignal {
			j.stopSignalOnce(a.id, false)
		}
	case signalGroup:
		if a.signal == syscall.SIGKILL {
			j.killsAfterTheWindow(a.id)
		} else {
			j.stopSignalOnce(a.id, true)
		}
	case record:
		j.levelsAreRight(a)
	case send:
		j.answersOnce(a.message)
	case finish:
		j.finishesWhenNothingLives()
	}
}

// after looks at what the core has made of the fact.
func (j *judge) after(actions []action) {
	j.followsTheDiagram()
	j.tellsTheFinalEnd(actions)
	j.recordsBeforeAnswers(actions)
	j.mirrorIsTheTruth()
	j.failuresAreCounted()
	j.nobodyWaitsInVain()
	j.looksAtTheFirst()
	for _, i := range j.w.core.instances {
		j.deadlinesBelongToPhases(i)
		j.noStateIsForEver(i)
		if i.phase != backoff {
			delete(j.came, i.key)
		}
		if was, _ := j.before(i.key); was.phase != i.phase {
			j.w.census.Saw("it is " + string(i.phase))
		}
	}
	for k := range j.down {
		if i := j.w.core.byKey[k]; i == nil || i.phase == stopping && i.then == thenRemove {
			delete(j.down, k) // to users it is gone
		}
	}
	j.appliesToTheEnd()
	switch e := j.event.(type) {
	case timePassed:
		j.killsInTime()
		j.restartsInTime()
	case applyAsked:
		j.appliesWhatDiffers(e)
	}
	j.rests()
}
