package companion

import (
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/historytest"
	"github.com/gofork/gofork/pkg/link"
)

// law is one sentence of the specification of the core: it holds at every moment of
// every history. Below, each stands above the function that judges it; what it looks
// like when the core breaks it is in mutation_test.go.
type law = historytest.Law

const (
	lawAlone      law = "at most one attempt of an instance lives, members of its group included"
	lawStart      law = "after a shutdown nothing starts, and what users have stopped starts when they say so"
	lawBackoff    law = "a restart by itself comes after the delay of the formula, neither earlier nor later"
	lawStopSignal law = "an attempt gets its stop signal once"
	lawKill       law = "SIGKILL comes once, after the stop signal and its window"
	lawStopEnds   law = "every stop ends: what is there at the end of its window is killed"
	lawLevel      law = "what ends because somebody wanted it to is expected, and all else an error"
	lawAnswer     law = "every request and every apply is answered once, a stop when it has ended, and an apply when what it touched has come to rest"
	lawOrder      law = "an answer, and a record, comes after what it is about"
	lawMirror     law = "what the arbiter was told is what is true"
	lawFailures   law = "failures grow by one with each crash, fall to none when somebody acts, the spec changes or it was up for long enough, and end in FATAL when there were too many"
	lawApply      law = "an apply touches what differs, and nothing else"
	lawWaiters    law = "whoever waits is waiting for something that is on its way"
	lawClocks     law = "a phase has at most one deadline, leaving it clears it, and the next look is at the first of all"
	lawForEver    law = "something ends each state in which something lives or is to happen"
	lawRest       law = "what can be done is done at once: at rest, nothing but a new fact brings an order"
	lawFinal      law = "the end for good of an essential companion is told, with its code, and no other"
	lawDiagram    law = "every change of phase is an arrow of the diagram"
	lawFinish     law = "the manager ends once, after a shutdown, and leaves nothing behind"
)

// laws are all of them.
func laws() []law {
	return []law{
		lawAlone, lawStart, lawBackoff, lawStopSignal, lawKill, lawStopEnds, lawLevel, lawAnswer, lawOrder, lawMirror,
		lawFailures, lawApply, lawWaiters, lawClocks, lawForEver, lawRest, lawFinal, lawDiagram, lawFinish,
	}
}

// At most one attempt of an instance lives, members of its group included.
func (j *judge) startsAlone(a startProcess) {
	for _, p := range j.w.procs {
		if p.key == a.key && p.lives() {
			j.broken(lawAlone, "%s starts beside attempt %d", a.key, p.attempt)
		}
	}
	if _, again := j.ordered[a.id]; again {
		j.broken(lawAlone, "%s#%d starts twice", a.key, a.attempt)
	}
	j.ordered[a.id] = *a.spec
	for _, o := range j.w.orders {
		if o.key == a.key && j.w.core.due(o.id) {
			j.broken(lawAlone, "%s starts twice: attempt %d is ordered as well", a.key, o.attempt)
		}
	}
}

// After a shutdown nothing starts, and what users have stopped stays so until they
// start it: over its backoff, over reloads.
func (j *judge) startsWhenItMay(a startProcess) {
	if j.shut {
		j.broken(lawStart, "%s starts after the shutdown", a.key)
	}
	if j.down[a.key] {
		j.broken(lawStart, "%s starts, which a user has stopped", a.key)
	}
	was, known := j.before(a.key)
	switch j.event.(type) {
	case timePassed, groupEnded:
		if at := j.retryAt(was); known && was.phase == backoff && !j.came[a.key] && j.w.now.Before(at) {
			j.broken(lawBackoff, "%s starts %v too early", a.key, at.Sub(j.w.now))
		}
	}
}

// The n-th restart in a row comes min(backoff_initial × 2^(n-1), backoff_max) after
// the end, or when the last member of the group has ended. What a look at the clock
// has found due is due, wherever the clock goes then.
func (j *judge) restartsInTime() {
	for _, i := range j.w.core.instances {
		if was, _ := j.before(i.key); was.phase != backoff || i.phase != backoff || was.attempt != i.attempt {
			continue
		}
		if at := j.retryAt(i); !j.w.now.Before(at) {
			j.came[i.key] = true
			if !i.leftover {
				j.broken(lawBackoff, "%s was to start %v ago", i.key, j.w.now.Sub(at))
			}
		}
	}
}

// retryAt is when an instance in BACKOFF starts again.
func (j *judge) retryAt(i *instance) time.Time {
	return j.ended[i.id()].Add(formula(*i.spec, i.failures.Failures))
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
func (j *judge) stopSignalOnce(a id, group bool) {
	s, p := j.signals[a], j.w.process(a)
	if p == nil {
		j.broken(lawStopSignal, "%s#%d gets a stop signal, and was never begun", a.key, a.attempt)
	}
	spec := p.spec
	if s == nil {
		s = &signaled{killAt: j.w.now.Add(j.window(a))}
		j.signals[a] = s
	}
	if group {
		s.group++
	} else {
		s.leader++
	}
	if s.group > 1 || s.leader > 1 || s.leader > 0 && spec.StopGroup || s.leader+s.group > 1 && spec.StopGroup {
		j.broken(lawStopSignal, "%s#%d gets its stop signal again", a.key, a.attempt)
	}
	if s.kills > 0 {
		j.broken(lawStopSignal, "%s#%d gets its stop signal after SIGKILL", a.key, a.attempt)
	}
}

// window is how long a stop that begins now may take.
func (j *judge) window(a id) time.Duration {
	spec := j.w.process(a).spec
	window := spec.StopTimeout
	if _, died := j.event.(processExited); !died {
		switch j.w.core.byKey[a.key].cause {
		case causeReload, causeRestart:
			window = spec.ReloadTimeout
		}
	}
	if e, ok := j.event.(shutdownAsked); ok && e.quick {
		window = min(window, quickWindow)
	}
	return window
}

// SIGKILL comes once, after the stop signal and its window, to the whole group.
func (j *judge) killsAfterTheWindow(a id) {
	s := j.signals[a]
	switch {
	case s == nil:
		j.broken(lawKill, "%s#%d gets SIGKILL without a stop signal", a.key, a.attempt)
	case j.w.now.Before(s.killAt):
		j.broken(lawKill, "%s#%d gets SIGKILL %v too early", a.key, a.attempt, s.killAt.Sub(j.w.now))
	case s.kills > 0:
		j.broken(lawKill, "%s#%d gets SIGKILL again", a.key, a.attempt)
	}
	s.kills++
	j.w.census.Saw("an instance is killed")
}

// Every stop ends: what is there at the end of its window is killed.
func (j *judge) killsInTime() {
	for a, s := range j.signals {
		if i := j.w.core.byKey[a.key]; i != nil && i.attempt == a.attempt && i.lives() && s.kills == 0 && !j.w.now.Before(s.killAt) {
			j.broken(lawStopEnds, "%s#%d lives %v after the end of its window", a.key, a.attempt, j.w.now.Sub(s.killAt))
		}
	}
}

// What ends because somebody wanted it to is expected: info, else error.
func (j *judge) levelsAreRight(r record) {
	e, ok := j.event.(processExited)
	if !ok || r.event != "companion.exited" {
		return
	}
	was, _ := j.before(e.key)
	success := e.status == exitStatus{}
	expected := was.phase == stopping || success && was.live.Autorestart != config.RestartAlways
	if level := map[bool]slog.Level{true: info, false: alarm}[expected]; r.level != level || attr(r, "expected") != expected {
		j.broken(lawLevel, "%s ended in %s: level %v, expected %v", e.key, was.phase, r.level, attr(r, "expected"))
	}
}

// Every request and every apply is answered exactly once, and a stop that is
// answered as done has ended.
func (j *judge) answersOnce(m link.Message) {
	switch {
	case m.Done != nil:
		j.answers[m.Done.ID]++
		if j.answers[m.Done.ID] > 1 {
			j.broken(lawAnswer, "request %d is answered again", m.Done.ID)
		}
		if act, ok := j.event.(actAsked); m.Done.Code == "" && (!ok || act.Wait) {
			for _, a := range j.stops[m.Done.ID] {
				if p := j.w.process(a); !p.told && p.leader || p.waits && p.members {
					j.broken(lawAnswer, "stop %d is done, and %s#%d lives", m.Done.ID, a.key, a.attempt)
				}
			}
		}
	case m.Applied != nil:
		j.settled = m.Applied.ID == j.last
		j.applied[m.Applied.ID]++
		if j.applied[m.Applied.ID] > 1 {
			j.broken(lawAnswer, "apply %d is answered again", m.Applied.ID)
		}
	}
}

// appliesToTheEnd sees that an apply is answered when all that it has started or
// stopped has a process or has ended.
func (j *judge) appliesToTheEnd() {
	_, applies := j.event.(applyAsked)
	for _, i := range j.w.core.instances {
		was, known := j.before(i.key)
		under := i.phase == stopping || j.w.core.due(i.id())
		if changed := !known || was.phase != i.phase || was.attempt != i.attempt; applies && changed && under {
			j.open[i.key] = true
		}
		if !under {
			delete(j.open, i.key)
		}
	}
	for k := range j.open {
		if j.settled && !j.shut && j.w.core.byKey[k] != nil {
			j.broken(lawAnswer, "apply %d is answered, and %s is %s", j.last, k, j.w.core.byKey[k].phase)
		}
	}
}

// An answer comes after the records of what it answers for.
// (The mirror is what the arbiter makes of it.)
func (j *judge) recordsBeforeAnswers(actions []action) {
	told := false
	for _, a := range actions {
		switch a := a.(type) {
		case record:
			told = true
		case send:
			if told && a.message.Instance != nil {
				j.broken(lawOrder, "the record of %s follows what it explains: %q", a.message.Instance.ID(), said(actions))
			}
			told = told || a.message.Instance == nil
		}
	}
	for _, a := range actions {
		if s, ok := a.(send); ok && s.message.Instance != nil {
			k := key{s.message.Instance.Name, s.message.Instance.Instance}
			j.mirror[k] = *s.message.Instance
			delete(j.shown, k)
		} else if ok && s.message.Removed != nil {
			delete(j.mirror, key{s.message.Removed.Name, s.message.Removed.Instance})
		}
	}
}

// What the arbiter was told is what is true, after every step.
func (j *judge) mirrorIsTheTruth() {
	if len(j.mirror) != len(j.w.core.instances) {
		j.broken(lawMirror, "the arbiter knows %d instances, there are %d", len(j.mirror), len(j.w.core.instances))
	}
	for _, i := range j.w.core.instances {
		if j.shown[i.key] == *i {
			continue // the same as when they were compared
		}
		if got, want := j.mirror[i.key], *i.view(); !reflect.DeepEqual(got, want) {
			j.broken(lawMirror, "the arbiter was told %+v, true is %+v", got, want)
		}
		j.shown[i.key] = *i
	}
}

// Failures grow by one with each crash and fall to none when somebody acts, when
// the spec changes, or with backoff_reset up.
func (j *judge) failuresAreCounted() {
	for _, i := range j.w.core.instances {
		was, known := j.before(i.key)
		now := i.failures.Failures
		e, died := j.event.(processExited)
		crashed := died && e.id == was.id() && was.leader && was.phase != stopping && i.phase != exited
		act, asked := j.event.(actAsked)
		asked = asked && !j.shut && act.Name == i.name && (act.Instance == 0 || act.Instance == i.number)
		switch {
		case !known:
		case asked && was.then != thenRemove && (act.Op == opRestart || act.Op == opStart && !was.up()) && now != 0:
			j.broken(lawFailures, "%s has %d failures after a %s", i.key, now, act.Op)
		case j.renews(i, was) && now != 0:
			j.broken(lawFailures, "%s has %d failures of another spec", i.key, now)
		case j.looked() && i.phase == running && was.phase == running && now != 0 && j.w.now.Sub(i.startedAt) >= i.live.BackoffReset:
			j.broken(lawFailures, "%s was up for %v, and has %d failures", i.key, j.w.now.Sub(i.startedAt), now)
		case now == was.failures.Failures && !crashed:
		case crashed:
			want := was.failures.Failures + 1
			if was.pid != 0 && j.w.now.Sub(was.startedAt) >= was.spec.BackoffReset {
				want = 1
			}
			if now != want {
				j.broken(lawFailures, "%s has %d failures after a crash, want %d", i.key, now, want)
			}
			if most := j.ordered[e.id].Startretries; (i.phase == fatal) != (most > 0 && now > most) {
				j.broken(lawFailures, "%s is %s after %d failures, %d are too many", i.key, i.phase, now, most)
			}
		case now != 0:
			j.broken(lawFailures, "%s went from %d failures to %d", i.key, was.failures.Failures, now)
		case reflect.TypeOf(j.event) == reflect.TypeFor[timePassed]():
			if was.phase != running && was.phase != starting || j.w.now.Sub(was.startedAt) < was.live.BackoffReset {
				j.broken(lawFailures, "%s forgets its failures in %s", i.key, was.phase)
			}
		case !slices.Contains([]reflect.Type{reflect.TypeFor[actAsked](), reflect.TypeFor[applyAsked]()}, reflect.TypeOf(j.event)):
			j.broken(lawFailures, "%s forgets its failures", i.key)
		}
	}
}

// looked says whether the event is a look at the clock.
func (j *judge) looked() bool {
	_, ok := j.event.(timePassed)
	return ok
}

// renews says whether the event is an apply that gives a new spec to an instance.
func (j *judge) renews(i, was *instance) bool {
	_, apply := j.event.(applyAsked)
	return apply && !j.shut && was.wanted && was.then != thenRemove && i.spec.Hash != was.spec.Hash
}

// A changed spec restarts what is up, a removed one ends it; what has not changed
// goes on with the same process, unless it is to be restarted by every reload.
func (j *judge) appliesWhatDiffers(e applyAsked) {
	if j.shut {
		return
	}
	specs := map[string]config.Companion{}
	for _, s := range e.Specs {
		specs[s.Name] = s
		for n := 1; n <= s.Numprocs; n++ {
			switch i := j.w.core.byKey[key{s.Name, n}]; {
			case i == nil:
				j.broken(lawApply, "there is no %s:%d", s.Name, n)
			case i.spec.Hash != s.Hash:
				j.broken(lawApply, "%s has not taken the new spec up", i.key)
			}
		}
	}
	for k, was := range j.was {
		s, configured := specs[k.name]
		i := j.w.core.byKey[k]
		switch {
		case !configured || k.number > s.Numprocs:
			if i != nil && !(i.phase == stopping && i.then == thenRemove) {
				j.broken(lawApply, "%s is not configured, and %s", k, i.phase)
			}
		case was.phase == stopping && was.then == thenRemove:
			if back := i.then == thenStart; i.phase == stopping && back != s.Autostart {
				j.broken(lawApply, "%s is back before it was gone, with autostart %v, and starts again %v", k, s.Autostart, back)
			}
		case !was.up():
		case !was.wanted, was.spec.Hash == s.Hash && !(e.Reload && s.OnReload.Restart):
			if i.phase != was.phase || i.attempt != was.attempt {
				j.broken(lawApply, "%s has not changed, and goes from %s to %s", k, was.phase, i.phase)
			}
			j.w.census.Saw("an apply that leaves alone what is up")
		case i.phase != stopping && i.attempt == was.attempt:
			j.broken(lawApply, "%s has changed, and goes on", k)
		default:
			j.w.census.Saw("an apply that restarts what is up")
		}
	}
}

// Whoever waits is waiting for something that is on its way.
func (j *judge) nobodyWaitsInVain() {
	for _, w := range j.w.core.waiters {
		if len(w.pending) == 0 {
			j.broken(lawWaiters, "request %d waits for nothing", w.act.ID)
		}
		for _, i := range w.pending {
			ok := i.phase == stopping
			if w.act.Op != opStop {
				ok = i.phase == starting || i.phase == stopping && i.then == thenStart
			}
			if j.w.core.byKey[i.key] != i || !ok {
				j.broken(lawWaiters, "request %d to %s waits for %s in %s", w.act.ID, w.act.Op, i.key, i.phase)
			}
		}
	}
}

// A phase has at most one deadline, and leaving the phase clears it.
func (j *judge) deadlinesBelongToPhases(i *instance) {
	if !i.deadline.IsZero() && i.phase != starting && i.phase != backoff && i.phase != stopping {
		j.broken(lawClocks, "%s has a deadline in %s", i.key, i.phase)
	}
	if i.phase == starting && i.pid == 0 && !i.deadline.IsZero() {
		j.broken(lawClocks, "%s has a deadline before it has a process", i.key)
	}
	if (!i.lifetimeDeadline.IsZero() || !i.resetDeadline.IsZero()) && !i.up() {
		j.broken(lawClocks, "%s has the deadlines of a process that is up in %s", i.key, i.phase)
	}
	if !i.leftoverDeadline.IsZero() && (!i.leftover || i.phase == stopping) {
		j.broken(lawClocks, "%s has a deadline for members in %s", i.key, i.phase)
	}
}

// The next look at the clock is for whoever wants it first.
func (j *judge) looksAtTheFirst() {
	var first time.Time
	for _, i := range j.w.core.instances {
		first = sooner(first, i.earliest())
	}
	at := j.w.core.earliest()
	if !at.Equal(first) {
		j.broken(lawClocks, "the next look is at %v, and somebody wants it at %v", at, first)
	}
	if j.looked() && due(at, j.w.now) && !j.recycles() {
		j.broken(lawClocks, "the clock was looked at, and the next look is asked for at %v before now", j.w.now.Sub(at))
	}
}

// Nothing waits for the next fact by chance.
func (j *judge) rests() {
	w := j.w
	if due(w.core.earliest(), w.now) || j.finished {
		return
	}
	if actions := w.take(timePassed{}); len(actions) > 0 {
		j.broken(lawRest, "ordered because somebody looked: %q", said(actions))
	}
}

// Something ends each state in which something lives or is to happen: an order,
// a deadline, or a signal that cannot be ignored.
func (j *judge) noStateIsForEver(i *instance) {
	ok := true
	switch i.phase {
	case starting:
		ok = !i.deadline.IsZero() || j.w.core.due(i.id())
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
		j.broken(lawForEver, "nothing will end %s of %s", i.phase, i.key)
	}
}

// recycles says that an instance became RUNNING when its lifetime was over: it
// wants one more look.
func (j *judge) recycles() bool {
	return slices.ContainsFunc(j.w.core.instances, func(i *instance) bool {
		was, _ := j.before(i.key)
		return was.phase == starting && i.phase == running
	})
}

// The arbiter ends with the code of an essential companion that is not run again; 5
// stands for 0.
func (j *judge) tellsTheFinalEnd(actions []action) {
	var told *link.Final
	for _, a := range actions {
		if s, ok := a.(send); ok && s.message.Final != nil {
			told = s.message.Final
		}
	}
	e, died := j.event.(processExited)
	want := 0
	if was, _ := j.before(e.key); died && was.attempt == e.attempt && was.leader && was.phase != stopping && j.ordered[e.id].Essential {
		if i := j.w.core.byKey[e.key]; i.phase == exited || i.phase == fatal {
			if want = e.status.shellCode(); want == 0 {
				want = 5
			}
			j.w.census.Saw("an essential companion ends for good")
		}
	}
	switch {
	case told == nil && want != 0:
		j.broken(lawFinal, "%s has ended for good, and nobody is told", e.key)
	case told != nil && (told.Code != want || told.Name != e.name || told.Instance != e.number):
		j.broken(lawFinal, "told %+v, want %s and code %d", *told, e.key, want)
	}
}

// Every change of phase is an arrow of the diagram.
func (j *judge) followsTheDiagram() {
	for _, i := range j.w.core.instances {
		was, known := j.before(i.key)
		from := was.phase
		if !known {
			from = none
		}
		if from != i.phase && !j.arrows[[2]phase{from, i.phase}] {
			j.broken(lawDiagram, "%s went from %s to %s", i.key, from, i.phase)
		}
	}
	for k, was := range j.was {
		if j.w.core.byKey[k] == nil && !j.arrows[[2]phase{was.phase, none}] {
			j.broken(lawDiagram, "%s was removed in %s", k, was.phase)
		}
	}
}

// The manager ends once, after a shutdown, and leaves nothing behind.
func (j *judge) finishesWhenNothingLives() {
	if j.finished || !j.shut {
		j.broken(lawFinish, "it finishes again, or without a shutdown")
	}
	j.finished = true
	for _, p := range j.w.procs {
		if p.lives() || !p.told {
			j.broken(lawFinish, "it finishes, and %s#%d was not seen to end", p.key, p.attempt)
		}
	}
	for _, o := range j.w.orders {
		if j.w.core.due(o.id) {
			j.broken(lawFinish, "it finishes, and %s is about to start", o.key)
		}
	}
}

// At the end nobody waits.
func (j *judge) atTheEnd() {
	for id, n := range j.answers {
		if n != 1 {
			j.broken(lawAnswer, "request %d was answered %d times", id, n)
		}
	}
	for id, n := range j.applied {
		if n != 1 {
			j.broken(lawAnswer, "apply %d was answered %d times", id, n)
		}
	}
}
