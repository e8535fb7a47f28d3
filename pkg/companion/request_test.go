package companion

import (
	"fmt"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/link"
)

// situations bring companion "a" into each state.
func situations() map[phase]func(testing.TB) *rig {
	return map[phase]func(testing.TB) *rig{
		stopped:  func(t testing.TB) *rig { return newRig(t, specOf("a", byHand)) },
		starting: func(t testing.TB) *rig { return newRig(t, specOf("a")).begin("a") },
		running:  func(t testing.TB) *rig { return newRig(t, specOf("a")).up("a") },
		backoff:  func(t testing.TB) *rig { return newRig(t, specOf("a")).up("a").exit("a", crash) },
		stopping: func(t testing.TB) *rig {
			r := newRig(t, specOf("a")).up("a")
			r.act(opStop, "a")
			return r
		},
		exited: func(t testing.TB) *rig {
			return newRig(t, specOf("a", func(s *config.Companion) { s.Autorestart = config.RestartNever })).up("a").exit("a", crash)
		},
		fatal: func(t testing.TB) *rig {
			spec := specOf("a", func(s *config.Companion) { s.Startretries, s.BackoffInitial = 1, 0 })
			return newRig(t, spec).up("a").exit("a", crash).up("a").exit("a", crash)
		},
	}
}

func TestRequestsInEveryState(t *testing.T) {
	const (
		done   = "done"
		open   = ""
		notUp  = "conflict: cannot signal a: not up"
		begin  = "start a#"
		toAll  = "SIGTERM to group a#"
		hangup = "SIGHUP to a#"
	)
	for _, tt := range []struct {
		from   phase
		op     string
		to     phase
		order  string // "" = none; the attempt's number follows
		answer string // at once
	}{
		{stopped, opStart, starting, begin, open},
		{exited, opStart, starting, begin, open},
		{fatal, opStart, starting, begin, open},
		{backoff, opStart, starting, begin, open},
		{starting, opStart, starting, "", done}, // done already
		{running, opStart, running, "", done},
		{stopping, opStart, stopping, "", open},

		{stopped, opStop, stopped, "", done},
		{exited, opStop, exited, "", done},
		{fatal, opStop, fatal, "", done},
		{backoff, opStop, stopped, "", done},
		{starting, opStop, stopping, toAll, open},
		{running, opStop, stopping, toAll, open},
		{stopping, opStop, stopping, "", open},

		{stopped, opRestart, starting, begin, open},
		{exited, opRestart, starting, begin, open},
		{fatal, opRestart, starting, begin, open},
		{backoff, opRestart, starting, begin, open},
		{starting, opRestart, stopping, toAll, open},
		{running, opRestart, stopping, toAll, open},
		{stopping, opRestart, stopping, "", open},

		{stopped, opSignal, stopped, "", notUp},
		{exited, opSignal, exited, "", notUp},
		{fatal, opSignal, fatal, "", notUp},
		{backoff, opSignal, backoff, "", notUp},
		{starting, opSignal, starting, hangup, done},
		{running, opSignal, running, hangup, done},
		{stopping, opSignal, stopping, hangup, done}, // its leader lives: a stack dump on the way out
	} {
		t.Run(fmt.Sprintf("%s in %s", tt.op, tt.from), func(t *testing.T) {
			r := situations()[tt.from](t).is("a", tt.from)
			id := r.act(tt.op, "a")
			r.is("a", tt.to).answered(id, tt.answer)
			if tt.order == "" {
				r.orders()
			} else {
				r.orders(tt.order + fmt.Sprint(r.get("a").attempt))
			}
			if wanted := r.get("a").wanted; tt.op != opSignal && wanted != (tt.op != opStop) {
				t.Errorf("wanted is %v", wanted)
			}
		})
	}
}

// settle plays a well-behaved companion until nothing is ordered any more.
func (r *rig) settle() *rig {
	for range 10 {
		i := r.get("a")
		switch {
		case r.core.due(i.id()):
			r.begin("a")
		case i.phase == starting:
			r.pass(time.Second)
		case i.phase == stopping:
			r.exit("a", exitStatus{})
		default:
			return r
		}
	}
	r.t.Fatalf("it does not come to rest: %s", r.get("a").phase)
	return r
}

// Requests take effect at once; the later one wins and each learns the truth.
func TestOverlappingRequestsAreAllToldTheTruth(t *testing.T) {
	for from, situation := range situations() {
		for _, first := range []string{opStart, opStop, opRestart} {
			for _, second := range []string{opStart, opStop, opRestart} {
				t.Run(fmt.Sprintf("%s, %s in %s", first, second, from), func(t *testing.T) {
					r := situation(t)
					one := r.act(first, "a")
					pending := r.answer(one) == ""
					two := r.act(second, "a")
					attempt := r.get("a").attempt
					r.settle()
					to, last := running, "done"
					if second == opStop {
						to = stopped
						if !pending && (from == exited || from == fatal) && first == opStop {
							to = from // it was down all along
						}
					}
					told := "done"
					if pending && first != opStop && second == opStop {
						told = "conflict: cannot " + first + " a: stopped by a later request"
						if attempt == 0 || !sentTo(r, attempt) {
							// It had no process yet: it was down at once.
							told = "conflict: cannot " + first + " a: stopped before it was up"
						}
					}
					r.is("a", to).answered(one, told).answered(two, last)
				})
			}
		}
	}
}

// sentTo says whether the group of an attempt was signaled.
func sentTo(r *rig, attempt int) bool {
	for _, a := range r.all {
		if s, ok := a.(signalGroup); ok && s.attempt == attempt {
			return true
		}
	}
	return false
}

func TestStartLearnsOfAFailure(t *testing.T) {
	for _, tt := range []struct {
		name string
		spec func(*config.Companion)
		exit exitStatus
		want string
	}{
		{"backoff", func(*config.Companion) {}, crash, "conflict: cannot start a: exited with code 1"},
		{"at once again", func(s *config.Companion) { s.BackoffInitial = 0 }, crash, "conflict: cannot start a: exited with code 1"},
		{"signal", func(*config.Companion) {}, exitStatus{signal: 11}, "conflict: cannot start a: killed by SIGSEGV"},
		{"not found", func(*config.Companion) {}, exitStatus{code: 127, startError: "cannot start a: not found"}, "conflict: cannot start a: cannot start a: not found"},
		{"exited, a failure", func(s *config.Companion) { s.Autorestart = config.RestartNever }, crash, "conflict: cannot start a: exited with code 1"},
		{"exited, a success", func(s *config.Companion) { s.Autorestart = config.RestartNever }, exitStatus{}, "done"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, specOf("a", tt.spec, byHand))
			id := r.act(opStart, "a")
			if tt.exit.startError == "" {
				r.begin("a")
			}
			r.exit("a", tt.exit).answered(id, tt.want)
		})
	}
}

func TestRequestsForAllInstancesWaitForAll(t *testing.T) {
	three := specOf("a", func(s *config.Companion) { s.Numprocs, s.Autostart = 3, false })
	r := newRig(t, three, specOf("b"))
	id := r.act(opStart, "a")
	r.up("a:2").exit("a:3", exitStatus{code: 126, startError: "cannot start it"}).answered(id, "")
	r.up("a").answered(id, "conflict: cannot start a:3: cannot start it")

	id = r.act(opStop, "a:2")
	r.is("a", running).exit("a:2", exitStatus{}).answered(id, "done").is("a:2", stopped)
	id = r.act(opStop, "a")
	r.is("a:3", stopped).answered(id, "").exit("a", exitStatus{}).answered(id, "done")
	r.answered(r.act(opSignal, "a"), "conflict: cannot signal a, a:2, a:3: not up")
}

func TestUnknownCompanionsAreRefused(t *testing.T) {
	r := newRig(t)
	r.answered(r.act(opStart, "a"), `unknown_companion: there is no companion "a"`) // before the first apply
	r.apply(specOf("a"))
	r.answered(r.act(opStop, "b"), `unknown_companion: there is no companion "b"`)
	r.answered(r.act(opRestart, "a:2"), `unknown_companion: there is no companion "a:2"`)
	r.up("a").apply().is("a", stopping)
	r.answered(r.act(opStart, "a"), `unknown_companion: there is no companion "a"`) // it only ends
}

func TestWhoDoesNotWaitIsAnsweredAtOnceAndAfterTheRecord(t *testing.T) {
	r := newRig(t, specOf("a")).up("a")
	r.do(actAsked{link.Act{ID: 9, Op: opRestart, Name: "a"}})
	r.wants("a is STOPPING", "INFO companion.stopping", "SIGTERM to group a#1", "done 9")
}

func TestRemovalAnswersWhoWaits(t *testing.T) {
	r := newRig(t, specOf("a", byHand), specOf("b"), specOf("c"), specOf("d", byHand)).up("b").up("c")
	start, stop, restart, ordered := r.act(opStart, "a"), r.act(opStop, "b"), r.act(opRestart, "c"), r.act(opStart, "d")
	r.begin("a").apply()
	r.answered(ordered, "conflict: cannot start d: removed from the configuration")
	r.answered(start, "conflict: cannot start a: removed from the configuration").answered(stop, "")
	r.exit("a", exitStatus{}).exit("b", exitStatus{}).exit("c", exitStatus{})
	r.answered(start, "conflict: cannot start a: removed from the configuration").answered(stop, "done").answered(restart, "conflict: cannot restart c: removed from the configuration")
}

// A signal would be lost before there is a process to take it.
func TestSignalToAnOrderedStartIsRefused(t *testing.T) {
	r := newRig(t, specOf("a")).is("a", starting)
	r.answered(r.act(opSignal, "a"), "conflict: cannot signal a: not up").orders()
}

// A stop that overtakes its start leaves nothing to wait for.
func TestStopBeforeTheProcessExistsMakesTheOrderVoid(t *testing.T) {
	r := newRig(t, specOf("a"))
	order := r.get("a").id()
	r.answered(r.act(opStop, "a"), "done").is("a", stopped).orders()
	if r.core.due(order) {
		t.Error("the start is still due")
	}
	r.do(processStarted{order, 77}).wants()
	r.act(opStart, "a")
	if r.core.due(order) || !r.core.due(r.get("a").id()) {
		t.Error("the first order is due again, or the second is not")
	}
	if r.begin("a"); r.get("a").restarts != 0 {
		t.Errorf("%d restarts of one that has run once", r.get("a").restarts)
	}
}
