package arbiter

import (
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

func (r *rig) done(token uint64) *rig {
	return r.do(managerSaid{r.core.manager.attempt, link.Message{Done: &link.Done{ID: token}}})
}

func TestAnActIsPassedOnAndAnsweredOnce(t *testing.T) {
	r := serving(t, configOf(0, companions("job")))
	token := r.act(control.OpRestart, "job")
	r.orders("tell manager 1 restart job").unanswered(token)
	r.done(token).answered(token, "")
	r.done(token).answered(token, "") // said twice
	refused := r.act(control.OpStart, "job")
	r.do(managerSaid{1, link.Message{Done: &link.Done{ID: refused, Code: control.CodeConflict, Message: "FATAL"}}}).answered(refused, "FATAL")
}

// A manager that is stopped (SIGSTOP) answers nothing: what is asked of it all the
// same must not pile up for ever.
func TestActsThatNobodyAnswersAreBounded(t *testing.T) {
	r := serving(t, configOf(0, companions("job")))
	var first uint64
	for n := range maxActs {
		token := r.act(control.OpStart, "job")
		r.unanswered(token)
		if n == 0 {
			first = token
		}
	}
	r.answered(r.act(control.OpStart, "job"), "1024 requests wait for the manager already")
	r.done(first)
	r.unanswered(r.act(control.OpStart, "job"))
}

// They are known, and not yet this arbiter's.
func TestActsWhileTheOlderArbiterRunsTheCompanions(t *testing.T) {
	r := serving(t, configOf(1, companions("job")))
	r.core.upgrade.parent, r.core.manager.phase = 6, managerNone
	r.answered(r.act(control.OpStart, "job"), "run by the older gofork, pid 6")
	r.answered(r.act(control.OpStart, "nobody"), "unknown_companion")
}

func TestActsOfUnknownCompanions(t *testing.T) {
	r := serving(t, configOf(0, companions("job")))
	r.answered(r.act(control.OpStart, "nobody"), "unknown_companion")
	r.tokens++
	r.do(actAsked{r.tokens, link.Act{Op: control.OpStart, Name: "job", Instance: 2}}).answered(r.tokens, "job:2")
	r = serving(t, configOf(1))
	r.answered(r.act(control.OpStart, "job"), "unknown_companion")
}

func TestAnActComesBeforeTheManagerHasReportedAll(t *testing.T) {
	r := newRig(t, configOf(0, companions("a", "b")))
	early := r.act(control.OpStop, "b")
	r.orders().unanswered(early)
	r.report(running(r.core.config.Companions[0], 9)).orders("tell manager 1 stop b")
	r.act(control.OpStart, "b")
	r.orders("tell manager 1 start b")
}

func TestAnActForACompanionThatAReloadHasJustAdded(t *testing.T) {
	r := serving(t, configOf(1, companions("a")))
	r.reload(configOf(1, companions("a", "b")))
	r.allReady()
	r.act(control.OpStop, "b")
	r.orders("tell manager 1 stop b")
}

func TestActsWaitForTheNextManager(t *testing.T) {
	r := serving(t, configOf(0, companions("job")))
	sent := map[string]uint64{}
	for _, op := range []string{control.OpStart, control.OpStop, control.OpRestart, control.OpSignal} {
		sent[op] = r.act(op, "job")
	}
	r.managerDies(byKill).answered(sent[control.OpSignal], "the manager died")
	r.do(adoptedGroupEnded{500})
	late := r.act(control.OpSignal, "job")
	r.orders().unanswered(late).unanswered(sent[control.OpStart])
	r.pass(time.Second)
	// A restart has happened: what is left of it is the start.
	r.managerUp().orders("tell manager 2 start job", "tell manager 2 stop job", "tell manager 2 start job", "tell manager 2 signal job")
	for _, token := range []uint64{sent[control.OpStart], sent[control.OpStop], sent[control.OpRestart], late} {
		r.done(token).answered(token, "")
	}
	r.answered(sent[control.OpSignal], "the manager died")
}

func TestAStoppedCompanionIsRememberedAsStopped(t *testing.T) {
	r := serving(t, configOf(0, companions("job")))
	r.act(control.OpStop, "job")
	r.managerDies(byKill)
	r.do(adoptedGroupEnded{500}).pass(time.Second)
	for _, a := range r.last {
		if m, ok := a.(tellManager); ok && m.message.Apply != nil {
			if got := m.message.Apply.Remembered[0].Desired; got != control.Down {
				t.Errorf("desired %s", got)
			}
		}
	}
}

func TestActsAreAnsweredWhenGoforkStops(t *testing.T) {
	r := serving(t, configOf(0, companions("job")))
	sent := r.act(control.OpRestart, "job")
	r.stop(false)
	r.answered(r.act(control.OpStart, "job"), "gofork is stopping").unanswered(sent)
	r.managerDies(exitedOK).answered(sent, "the manager died")

	r = serving(t, configOf(0, companions("job"))).managerDies(byKill)
	waiting := r.act(control.OpStart, "job")
	r.stop(false).answered(waiting, "cannot start job")
}
