package companion

import (
	"log/slog"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/link"
)

// The invariants of doc.go, held against generated histories. Each was seen to
// catch a core that breaks it; what was broken stands at the law.

func TestEveryHistoryKeepsTheLaws(t *testing.T) {
	pairs := map[[2]phase]bool{{starting, starting}: true}
	for _, a := range arrows(t) {
		pairs[[2]phase{a.from, a.to}] = true
	}
	for range 10 { // a hundred histories each
		rapid.Check(t, func(t *rapid.T) {
			w := newWorld(t)
			w.laws.arrows = pairs
			w.run()
		})
	}
}

// laws knows a history as far as the invariants need it.
type laws struct {
	w      *world
	arrows map[[2]phase]bool

	event event
	was   map[key]instance // every instance before the step

	signals  map[id]*signaled
	answers  map[uint64]int // by request
	applied  map[uint64]int
	stops    map[uint64][]id // what lived when a stop was asked for, by request
	mirror   map[key]link.Instance
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

func newLaws(w *world) *laws {
	return &laws{
		w: w, signals: map[id]*signaled{}, answers: map[uint64]int{}, applied: map[uint64]int{}, stops: map[uint64][]id{},
		mirror: map[key]link.Instance{}, ended: map[id]time.Time{},
	}
}

func (l *laws) broken(format string, args ...any) {
	l.w.t.Helper()
	l.w.t.Logf("event %+v", l.event)
	l.w.t.Fatalf(format, args...)
}

func (l *laws) before(e event) {
	l.event = e
	l.was = make(map[key]instance, len(l.w.core.instances))
	for _, i := range l.w.core.instances {
		l.was[i.key] = *i
	}
	switch e := e.(type) {
	case shutdownAsked:
		l.shut = true
		if e.quick && l.quickAt.IsZero() {
			l.quickAt = l.w.now
			for _, s := range l.signals {
				s.killAt = sooner(s.killAt, l.quickAt.Add(quickWindow))
			}
		}
	case actAsked:
		l.answers[e.ID] = 0
		if e.Op == opStop {
			l.stops[e.ID] = nil
			for _, p := range l.w.procs {
				// What is being taken out of the configuration is nobody's target.
				removed := l.was[p.key].phase == stopping && l.was[p.key].then == thenRemove
				if p.name == e.Name && (e.Instance == 0 || e.Instance == p.number) && p.lives() && !removed {
					l.stops[e.ID] = append(l.stops[e.ID], p.id)
				}
			}
		}
	case applyAsked:
		l.applied[e.ID] = 0
		for _, r := range e.Remembered {
			l.mirror[key{r.Name, r.Instance}] = r
		}
	case processExited:
		if _, again := l.ended[e.id]; !again {
			l.ended[e.id] = l.w.now
		}
	}
}

func (l *laws) action(a action) {
	switch a := a.(type) {
	case startProcess:
		l.startsAlone(a)
		l.startsWhenItMay(a)
	case signalProcess:
		if a.signal == l.was[a.key].live.StopSignal {
			l.stopSignalOnce(a.id, false)
		}
	case signalGroup:
		if a.signal == syscall.SIGKILL {
			l.killsAfterTheWindow(a.id)
		} else {
			l.stopSignalOnce(a.id, true)
		}
	case record:
		l.levelsAreRight(a)
	case send:
		l.answersOnce(a.message)
	case finish:
		l.finishesWhenNothingLives()
	}
}

func (l *laws) after(actions []action) {
	l.followsTheDiagram()
	l.recordsBeforeAnswers(actions)
	l.mirrorIsTheTruth()
	l.failuresAreCounted()
	l.nobodyWaitsInVain()
	for _, i := range l.w.core.instances {
		l.deadlinesBelongToPhases(i)
		l.noStateIsForEver(i)
	}
	if _, ok := l.event.(timePassed); ok {
		l.killsInTime()
		if at := l.w.core.earliest(); !at.IsZero() && !at.After(l.w.now) && !l.recycles() {
			l.broken("the clock was looked at, and the next look is asked for at %v before now", l.w.now.Sub(at))
		}
	}
}

// At most one attempt of an instance lives, members of its group included.
// Caught: attempts counted from 1 again after a removal; current without its look
// at the attempt, so that an event of an earlier one counts.
func (l *laws) startsAlone(a startProcess) {
	for _, p := range l.w.procs {
		if p.key == a.key && p.lives() {
			l.broken("%s starts beside attempt %d", a.key, p.attempt)
		}
		if p.id == a.id {
			l.broken("%s#%d starts twice", a.key, a.attempt)
		}
	}
	for _, o := range l.w.orders {
		if o.key == a.key && l.w.core.due(o.id) {
			l.broken("%s starts twice: attempt %d is ordered as well", a.key, o.attempt)
		}
	}
}

// After a shutdown nothing starts, and an apply starts nothing that a user has
// stopped. A restart by itself waits for the formula's delay.
// Caught: shutDown that leaves thenStart; a backoff deadline halved; renew of
// what is not wanted.
func (l *laws) startsWhenItMay(a startProcess) {
	if l.shut {
		l.broken("%s starts after the shutdown", a.key)
	}
	was, known := l.was[a.key]
	if _, apply := l.event.(applyAsked); apply && known && !was.wanted {
		l.broken("a reload starts %s, which a user has stopped", a.key)
	}
	if !known || was.phase != backoff {
		return
	}
	switch l.event.(type) {
	case timePassed, groupEnded:
		at := l.ended[was.id()].Add(formula(was.spec, was.failures.Failures))
		if l.w.now.Before(at) {
			l.broken("%s starts %v too early", a.key, at.Sub(l.w.now))
		}
	}
}

// formula is min(backoff_initial × 2^(n-1), backoff_max).
func formula(s config.Companion, n int) time.Duration {
	d := s.BackoffInitial
	for ; n > 1 && d < s.BackoffMax; n-- {
		d *= 2
	}
	return min(d, s.BackoffMax)
}

// An attempt gets its stop signal at most once: the group, or with stop_group
// off the leader and then the members that outlive it.
// Caught: a stop of what is stopping that signals again; endLeftover without
// "!i.signaled".
func (l *laws) stopSignalOnce(a id, group bool) {
	s := l.signals[a]
	spec := l.w.process(a).spec
	if s == nil {
		s = &signaled{killAt: l.w.now.Add(l.window(a))}
		l.signals[a] = s
	}
	if group {
		s.group++
	} else {
		s.leader++
	}
	if s.group > 1 || s.leader > 1 || s.leader > 0 && spec.StopGroup || s.leader+s.group > 1 && spec.StopGroup {
		l.broken("%s#%d gets its stop signal again", a.key, a.attempt)
	}
	if s.kills > 0 {
		l.broken("%s#%d gets its stop signal after SIGKILL", a.key, a.attempt)
	}
}

// window is how long a stop that begins now may take.
func (l *laws) window(a id) time.Duration {
	spec := l.w.process(a).spec
	window := spec.StopTimeout
	if _, died := l.event.(processExited); !died {
		switch l.w.core.byKey[a.key].cause {
		case causeReload, causeRestart:
			window = spec.ReloadTimeout
		}
	}
	if e, ok := l.event.(shutdownAsked); ok && e.quick {
		window = min(window, quickWindow)
	}
	return window
}

// SIGKILL comes once, after the stop signal and its window, to the whole group.
// Caught: kill together with the stop signal; kill without "i.killed".
func (l *laws) killsAfterTheWindow(a id) {
	s := l.signals[a]
	switch {
	case s == nil:
		l.broken("%s#%d gets SIGKILL without a stop signal", a.key, a.attempt)
	case l.w.now.Before(s.killAt):
		l.broken("%s#%d gets SIGKILL %v too early", a.key, a.attempt, s.killAt.Sub(l.w.now))
	case s.kills > 0:
		l.broken("%s#%d gets SIGKILL again", a.key, a.attempt)
	}
	s.kills++
}

// Every stop ends: what is there at the end of its window is killed.
// Caught: a second stop that sets the deadline anew; a quick shutdown that leaves
// deadlines alone.
func (l *laws) killsInTime() {
	for a, s := range l.signals {
		if i := l.w.core.byKey[a.key]; i != nil && i.attempt == a.attempt && i.lives() && s.kills == 0 && !l.w.now.Before(s.killAt) {
			l.broken("%s#%d lives %v after the end of its window", a.key, a.attempt, l.w.now.Sub(s.killAt))
		}
	}
}

// What ends because somebody wanted it to is expected: info, else error.
// Caught: asked left out of expected; recordExit at warn.
func (l *laws) levelsAreRight(r record) {
	e, ok := l.event.(processExited)
	if !ok || r.event != "companion.exited" {
		return
	}
	was := l.was[e.key]
	success := e.status == exitStatus{}
	expected := was.phase == stopping || success && was.live.Autorestart != config.RestartAlways
	if level := map[bool]slog.Level{true: info, false: alarm}[expected]; r.level != level || attr(r, "expected") != expected {
		l.broken("%s ended in %s: level %v, expected %v", e.key, was.phase, r.level, attr(r, "expected"))
	}
}

// Every request and every apply is answered exactly once, and a stop that is
// answered as done has ended.
// Caught: a stop answered when its leader had ended; apply that forgets the
// pending one; an apply without an answer after a shutdown; remove without resolve.
func (l *laws) answersOnce(m link.Message) {
	switch {
	case m.Done != nil:
		l.answers[m.Done.ID]++
		if l.answers[m.Done.ID] > 1 {
			l.broken("request %d is answered again", m.Done.ID)
		}
		if act, ok := l.event.(actAsked); m.Done.Code == "" && (!ok || act.Wait) {
			for _, a := range l.stops[m.Done.ID] {
				if p := l.w.process(a); !p.told && p.leader || p.waits && p.members {
					l.broken("stop %d is done, and %s#%d lives", m.Done.ID, a.key, a.attempt)
				}
			}
		}
	case m.Applied != nil:
		l.applied[m.Applied.ID]++
		if l.applied[m.Applied.ID] > 1 {
			l.broken("apply %d is answered again", m.Applied.ID)
		}
	}
}

// An answer comes after the records of what it answers for.
// Caught: publish that appends at the end.
// (The mirror is what the arbiter makes of it.)
func (l *laws) recordsBeforeAnswers(actions []action) {
	told := false
	for _, a := range actions {
		switch a := a.(type) {
		case record:
			told = true
		case send:
			if told && a.message.Instance != nil {
				l.broken("the record of %s follows what it explains: %q", a.message.Instance.ID(), said(actions))
			}
			told = told || a.message.Instance == nil
		}
	}
	for _, a := range actions {
		if s, ok := a.(send); ok && s.message.Instance != nil {
			l.mirror[key{s.message.Instance.Name, s.message.Instance.Instance}] = *s.message.Instance
		} else if ok && s.message.Removed != nil {
			delete(l.mirror, key{s.message.Removed.Name, s.message.Removed.Instance})
		}
	}
}

// What the arbiter was told is what is true, after every step.
// Caught: enter, groupEnded, kill, bringDown and drop, each without "changed"; no
// Removed for a remembered instance that is not configured any more.
func (l *laws) mirrorIsTheTruth() {
	if len(l.mirror) != len(l.w.core.instances) {
		l.broken("the arbiter knows %d instances, there are %d", len(l.mirror), len(l.w.core.instances))
	}
	for _, i := range l.w.core.instances {
		if got, want := l.mirror[i.key], *i.view(); !reflect.DeepEqual(got, want) {
			l.broken("the arbiter was told %+v, true is %+v", got, want)
		}
	}
}

// Failures grow by one with each crash and fall to none when somebody acts, when
// the spec changes, or with backoff_reset up.
// Caught: ended that resets them, so that recycling does; exited that does not
// count; begin of a start that keeps them.
func (l *laws) failuresAreCounted() {
	for _, i := range l.w.core.instances {
		was, known := l.was[i.key]
		now := i.failures.Failures
		e, died := l.event.(processExited)
		crashed := died && e.id == was.id() && was.leader && was.phase != stopping && i.phase != exited
		act, asked := l.event.(actAsked)
		asked = asked && !l.shut && act.Name == i.name && (act.Instance == 0 || act.Instance == i.number)
		switch {
		case !known:
		case asked && was.then != thenRemove && (act.Op == opRestart || act.Op == opStart && !was.up()) && now != 0:
			l.broken("%s has %d failures after a %s", i.key, now, act.Op)
		case now == was.failures.Failures && !crashed:
		case crashed:
			want := was.failures.Failures + 1
			if was.pid != 0 && l.w.now.Sub(was.startedAt) >= was.spec.BackoffReset {
				want = 1
			}
			if now != want {
				l.broken("%s has %d failures after a crash, want %d", i.key, now, want)
			}
		case now != 0:
			l.broken("%s went from %d failures to %d", i.key, was.failures.Failures, now)
		case reflect.TypeOf(l.event) == reflect.TypeFor[timePassed]():
			if was.phase != running && was.phase != starting || l.w.now.Sub(was.startedAt) < was.live.BackoffReset {
				l.broken("%s forgets its failures in %s", i.key, was.phase)
			}
		case !slices.Contains([]reflect.Type{reflect.TypeFor[actAsked](), reflect.TypeFor[applyAsked]()}, reflect.TypeOf(l.event)):
			l.broken("%s forgets its failures", i.key)
		}
	}
}

// Whoever waits is waiting for something that is on its way.
// Caught: settle that keeps the waiter; a stop, and a shutdown, that does not
// overrule who waits for a start.
func (l *laws) nobodyWaitsInVain() {
	for _, w := range l.w.core.waiters {
		if len(w.pending) == 0 {
			l.broken("request %d waits for nothing", w.act.ID)
		}
		for _, i := range w.pending {
			ok := i.phase == stopping
			if w.act.Op != opStop {
				ok = i.phase == starting || i.phase == stopping && i.then == thenStart
			}
			if l.w.core.byKey[i.key] != i || !ok {
				l.broken("request %d to %s waits for %s in %s", w.act.ID, w.act.Op, i.key, i.phase)
			}
		}
	}
}

// A phase has at most one deadline, and leaving the phase clears it.
// Caught: enter that leaves deadline, or the two of a process that is up, alone.
func (l *laws) deadlinesBelongToPhases(i *instance) {
	if !i.deadline.IsZero() && i.phase != starting && i.phase != backoff && i.phase != stopping {
		l.broken("%s has a deadline in %s", i.key, i.phase)
	}
	if i.phase == starting && i.pid == 0 && !i.deadline.IsZero() {
		l.broken("%s has a deadline before it has a process", i.key)
	}
	if (!i.lifetimeDeadline.IsZero() || !i.resetDeadline.IsZero()) && !i.up() {
		l.broken("%s has the deadlines of a process that is up in %s", i.key, i.phase)
	}
	if !i.leftoverDeadline.IsZero() && (!i.leftover || i.phase == stopping) {
		l.broken("%s has a deadline for members in %s", i.key, i.phase)
	}
}

// Something ends each state in which something lives or is to happen: an order,
// a deadline, or a signal that cannot be ignored.
// Caught: backoff entered without its deadline; stop without one, of its own or
// taken over from the members; endLeftover without leftoverDeadline; bringUp that
// forgets the members.
func (l *laws) noStateIsForEver(i *instance) {
	ok := true
	switch i.phase {
	case starting:
		ok = !i.deadline.IsZero() || l.w.core.due(i.id())
	case running:
		ok = i.leader
	case backoff:
		ok = !i.deadline.IsZero() || i.leftover
	case stopping:
		ok = i.lives() && (!i.deadline.IsZero() || i.killed)
	case stopped:
		ok = !i.lives()
	case exited, fatal:
		ok = !i.leader
	}
	if i.leftover && i.phase != stopping {
		ok = ok && (!i.leftoverDeadline.IsZero() || i.killed)
	}
	if !ok {
		l.broken("nothing will end %s of %s", i.phase, i.key)
	}
}

// recycles says that an instance became RUNNING when its lifetime was over: it
// wants one more look.
func (l *laws) recycles() bool {
	return slices.ContainsFunc(l.w.core.instances, func(i *instance) bool {
		was := l.was[i.key]
		return was.phase == starting && i.phase == running
	})
}

// Every change of phase is an arrow of the diagram.
// Caught: an exit that counts twice and leads from STOPPED to BACKOFF.
func (l *laws) followsTheDiagram() {
	for _, i := range l.w.core.instances {
		was, known := l.was[i.key]
		from := was.phase
		if !known {
			from = none
		}
		if from != i.phase && !l.arrows[[2]phase{from, i.phase}] {
			l.broken("%s went from %s to %s", i.key, from, i.phase)
		}
	}
	for k, was := range l.was {
		if l.w.core.byKey[k] == nil && !l.arrows[[2]phase{was.phase, none}] {
			l.broken("%s was removed in %s", k, was.phase)
		}
	}
}

// The manager ends once, after a shutdown, and leaves nothing behind.
// Caught: finish without looking at leftovers; finish without "finished".
func (l *laws) finishesWhenNothingLives() {
	if l.finished || !l.shut {
		l.broken("it finishes again, or without a shutdown")
	}
	l.finished = true
	for _, p := range l.w.procs {
		if p.lives() || !p.told {
			l.broken("it finishes, and %s#%d was not seen to end", p.key, p.attempt)
		}
	}
	for _, o := range l.w.orders {
		if l.w.core.due(o.id) {
			l.broken("it finishes, and %s is about to start", o.key)
		}
	}
}

// At the end nobody waits.
// Caught: see answersOnce.
func (l *laws) atTheEnd() {
	for id, n := range l.answers {
		if n != 1 {
			l.broken("request %d was answered %d times", id, n)
		}
	}
	for id, n := range l.applied {
		if n != 1 {
			l.broken("apply %d was answered %d times", id, n)
		}
	}
}
