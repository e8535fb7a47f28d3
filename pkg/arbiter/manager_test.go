package arbiter

import (
	"fmt"
	"log/slog"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// report has the manager say something of an instance.
func (r *rig) report(i *link.Instance) *rig {
	return r.do(managerSaid{r.core.manager.attempt, link.Message{Instance: i}})
}

func (r *rig) manager(want managerPhase) *rig {
	r.t.Helper()
	if got := r.core.manager.phase; got != want {
		r.t.Errorf("manager is %q, want %q", got, want)
	}
	return r
}

func TestManagerOfItsOwn(t *testing.T) {
	r := newRig(t, configOf(0, companions("job"))).orders("start manager 1", "tell manager 1 apply 1").manager(managerStarting)
	r.managerUp().manager(managerRunning)
	if s := r.core.status(r.now); s.Manager.PID != 101 || len(s.Companions) != 1 || s.Companions[0].State != control.Running {
		t.Errorf("%+v", s)
	}
}

func TestDelaysOfTheManager(t *testing.T) {
	const s = time.Second
	r := newRig(t, configOf(0, companions("job")))
	for n, want := range []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s} {
		r.managerDies(crash).manager(managerBackoff).logs("manager.exited", slog.LevelError, "expected", "false")
		r.logs("manager.backoff", slog.LevelWarn, "delay", want.String(), "failures", fmt.Sprint(n+1))
		r.passTo(want).orders(fmt.Sprintf("start manager %d", n+2), fmt.Sprintf("tell manager %d apply 1", n+2))
	}
	r.pass(30*s).managerDies(crash).logs("manager.backoff", slog.LevelWarn, "delay", "1s", "failures", "1")
}

func TestAManagerThatCannotBeStartedIsTriedAgain(t *testing.T) {
	r := newRig(t, configOf(0, companions("job"))).managerDies(noStart)
	r.logs("manager.exited", slog.LevelError, "reason", noStart.startError).passTo(time.Second).manager(managerStarting)
}

func TestCompanionsOfADeadManagerAreStoppedEachInItsOwnWay(t *testing.T) {
	r := serving(t, configOf(0, companions("a", "b", "c", "d")))
	a, b, c, d := r.core.config.Companions[0], r.core.config.Companions[1], r.core.config.Companions[2], r.core.config.Companions[3]
	ia, ib, ic, id := running(a, 11), running(b, 12), running(c, 13), running(d, 0)
	ia.StopSignal, ia.StopTimeout = syscall.SIGINT, 5*time.Second
	ib.StopGroup = false
	ic.State = control.Stopping // it has its signal
	id.State = control.Backoff
	r.report(ia).report(ib).report(ic).report(id)
	r.managerDies(byKill).logs("manager.exited", slog.LevelError)
	r.orders("SIGINT adopted group 11", "SIGTERM adopted leader 12")
	for i, want := range []string{control.Stopping, control.Stopping, control.Stopping, control.Stopped} {
		if s := r.core.status(r.now); s.Companions[i].State != want {
			t.Errorf("%s is %s, want %s", s.Companions[i].Name, s.Companions[i].State, want)
		}
	}
	r.do(adoptedExited{12, byTerm}).orders("SIGTERM adopted group 12").logs("companion.exited", slog.LevelInfo, "expected", "true")
	r.pass(time.Second).orders().manager(managerBackoff) // its delay is over, but three live
	r.passTo(4 * time.Second).orders("SIGKILL adopted group 11")
	r.do(adoptedExited{11, byKill}).do(adoptedGroupEnded{11}).logs("companion.stopped", slog.LevelInfo)
	r.do(adoptedGroupEnded{12}).orders()
	r.passTo(55 * time.Second).orders("SIGKILL adopted group 13")
	r.do(adoptedGroupEnded{13}).orders("start manager 2", "tell manager 2 apply 4")
	for _, a := range r.last {
		if m, ok := a.(tellManager); ok && len(m.message.Apply.Remembered) != 4 {
			t.Errorf("%d instances are remembered", len(m.message.Apply.Remembered))
		}
	}
}

func TestTheNextManagerWaitsForItsDelayToo(t *testing.T) {
	r := serving(t, configOf(0, companions("job"))).managerDies(crash)
	r.do(adoptedGroupEnded{500}).orders().manager(managerBackoff)
	r.passTo(time.Second).manager(managerStarting)
}

func TestLeftMembersWithoutALeaderAreAskedAsAGroup(t *testing.T) {
	r := serving(t, configOf(0, companions("job")))
	i := running(r.core.config.Companions[0], 11)
	i.PID, i.StopGroup, i.State = 0, false, control.Backoff
	r.report(i).managerDies(byKill).orders("SIGTERM adopted group 11")
	r.logs("companion.stopping", slog.LevelInfo, "companion", "job", "cause", "manager died", "signal", "SIGTERM", "window", "1m0s")
}

func TestStraysAreAdoptedToo(t *testing.T) {
	r := serving(t, configOf(0, companions("job")))
	strays := []stray{{key{"job", 1}, 500}, {key{"job", 2}, 77}, {key{"gone", 1}, 78}}
	r.do(managerExited{attempt: 1, status: byKill, strays: strays})
	r.orders("SIGTERM adopted group 500", "SIGTERM adopted group 77", "SIGTERM adopted group 78")
	r.do(adoptedGroupEnded{500}).do(adoptedGroupEnded{77}).pass(time.Second).orders()
	r.passTo(9 * time.Second).orders("SIGKILL adopted group 78")
	r.do(adoptedGroupEnded{78}).manager(managerStarting)
}

func TestTheManagersStopWindow(t *testing.T) {
	r := serving(t, configOf(0, companions("job"))).stop(false)
	r.orders("tell manager 1 stop").manager(managerStopping)
	r.passTo(70*time.Second).orders("SIGKILL manager 1").manager(managerKilling).logs("manager.killed", slog.LevelWarn)
	// It had its time, and so had its companions.
	r.managerDies(byKill).orders("SIGKILL adopted group 500").logs("companion.killed", slog.LevelWarn)
	r.logs("manager.exited", slog.LevelInfo, "expected", "true")
	r.do(adoptedGroupEnded{500}).orders("finish 0")
}

func TestAWindowOfNoCompanionsIsAMoment(t *testing.T) {
	r := serving(t, configOf(0, companions("job"), func(c *config.Config) { c.Manager.StopTimeout = 0 })).stop(false)
	r.passTo(time.Second).orders("SIGKILL manager 1")
}

func TestAStopWaitsForTheAdopted(t *testing.T) {
	r := serving(t, configOf(0, companions("job"))).managerDies(byKill).stop(false)
	r.orders().manager(managerStopped).pass(59 * time.Second).orders()
	r.passTo(time.Second).orders("SIGKILL adopted group 500")
	r.do(adoptedGroupEnded{500}).orders("finish 0")
}

func TestAQuickStopHurriesTheAdopted(t *testing.T) {
	r := serving(t, configOf(0, companions("job"))).managerDies(byKill).pass(time.Second).stop(true)
	r.passTo(quickWindow).orders("SIGKILL adopted group 500").logs("companion.killed", slog.LevelWarn)
	r.pass(time.Minute).orders()
	if i := r.core.manager.instances[key{"job", 1}]; i.StopKills != 1 {
		t.Errorf("%d stop kills", i.StopKills)
	}
}

func TestAKilledCompanionIsNotKilledAgainByAQuickStop(t *testing.T) {
	r := serving(t, configOf(0, companions("job"))).managerDies(byKill).pass(time.Minute)
	r.orders("SIGKILL adopted group 500").stop(true).pass(time.Minute).orders()
}

func TestAManagerThatDiesDuringAQuickStop(t *testing.T) {
	r := serving(t, configOf(0, companions("job"))).stop(true).orders("tell manager 1 stop quick")
	r.pass(2 * time.Second).managerDies(byKill).orders("SIGTERM adopted group 500")
	r.passTo(3 * time.Second).orders("SIGKILL adopted group 500")
	r.do(adoptedGroupEnded{500}).orders("finish 0")
}

func TestAnEssentialCompanionEndsGofork(t *testing.T) {
	r := serving(t, configOf(1, companions("job")))
	r.do(managerSaid{1, link.Message{Final: &link.Final{Name: "job", Instance: 1, Code: 9, Reason: "exited with code 9"}}})
	r.orders("SIGTERM 1.1", "tell manager 1 stop").logs("server.stopping", slog.LevelError, "code", "9")
	r.drained().managerDies(exitedOK)
	r.do(adoptedGroupEnded{500}).orders("finish 9")
}

func TestAFaultOfOneSideNeverReachesTheOther(t *testing.T) {
	r := serving(t, configOf(2, companions("job")))
	r.managerDies(byKill)
	r.shows("1.1 generation 1 ready", "2.1 generation 1 ready")
	r.exit("1.1", crash).orders("start 1.2 generation 1").manager(managerBackoff)
}

func TestCompanionsAreRemovedFromAConfigurationThatHadSome(t *testing.T) {
	r := serving(t, configOf(1, companions("job")))
	token := r.reload(configOf(1))
	r.allReady().orders("SIGTERM 1.1", "tell manager 1 stop").unanswered(token)
	r.managerDies(exitedOK).answered(token, "").manager(managerNone)
	r.do(adoptedGroupEnded{500}).drained()
	if s := r.core.status(r.now); s.Manager != nil || len(s.Companions) != 0 {
		t.Errorf("%+v", s)
	}
	r.pass(time.Hour).orders()
	token = r.reload(configOf(1, companions("job")))
	r.allReady().orders("SIGTERM 1.2", "start manager 2", "tell manager 2 apply 1")
	r.managerUp().answered(token, "")
}

func TestCompanionsAreRemovedWhileThereIsNoManager(t *testing.T) {
	r := serving(t, configOf(1, companions("job"))).managerDies(crash)
	r.do(adoptedGroupEnded{500})
	waiting := r.act(control.OpStart, "job")
	token := r.reload(configOf(1))
	r.allReady().answered(token, "").answered(waiting, "unknown").manager(managerNone)
	r.drained().pass(time.Hour).orders()
}

func TestAManagerThatHangsWhileItIsRemoved(t *testing.T) {
	r := serving(t, configOf(1, companions("job")))
	token := r.reload(configOf(1))
	r.allReady().drained()
	asked := r.act(control.OpStop, "job")
	r.pass(70*time.Second).orders("SIGKILL manager 1").answered(token, "has not answered in time")
	r.managerDies(byKill).orders("SIGKILL adopted group 500").manager(managerNone).answered(asked, "unknown")
	r.do(adoptedGroupEnded{500}).pass(time.Hour).orders()
}

func TestNoManagerStartsBesideAnAdoptedGroup(t *testing.T) {
	r := serving(t, configOf(1, companions("job")))
	r.reload(configOf(1))
	r.allReady().drained()
	r.managerDies(byKill) // its companion lives on
	token := r.reload(configOf(1, companions("job")))
	r.allReady().orders("SIGTERM 1.2").answered(token, "")
	r.pass(10 * time.Second).orders()
	r.do(adoptedGroupEnded{500}).orders("start manager 2", "tell manager 2 apply 1")
}

func TestCompanionsComeBackWhileTheirManagerEnds(t *testing.T) {
	r := serving(t, configOf(1, companions("job")))
	r.reload(configOf(1))
	r.allReady().drained().pass(69 * time.Second)
	r.reload(configOf(1, companions("job"))) // queued, and loaded when the first is done
	r.pass(time.Second).orders("SIGKILL manager 1")
	r.loaded(configOf(1, companions("job"))).allReady().drained()
	r.managerDies(byKill)
	r.do(adoptedGroupEnded{500}).orders("start manager 2", "tell manager 2 apply 1")
}

func TestCompanionsThatComeBackWaitForNothingElse(t *testing.T) {
	job := companions("job")
	r := serving(t, configOf(1, job))
	r.reload(configOf(1))
	r.allReady().drained()
	r.report(running(configOf(1, job).Companions[0], 0)) // it has ended, its manager has not
	r.askReload()
	r.pass(70 * time.Second)
	r.loaded(configOf(1, job)).allReady().drained()
	r.managerDies(byKill).orders("start manager 2", "tell manager 2 apply 1")
}

func TestAFirstReloadMayBringTheFirstCompanions(t *testing.T) {
	r := serving(t, configOf(1))
	token := r.reload(configOf(1, companions("job")))
	r.allReady().orders("SIGTERM 1.1", "start manager 1", "tell manager 1 apply 1").unanswered(token)
	r.managerUp().answered(token, "")
}

func TestAReloadWhileTheManagerWaitsToStart(t *testing.T) {
	r := serving(t, configOf(1, companions("job"))).managerDies(crash)
	r.do(adoptedGroupEnded{500})
	token := r.reload(configOf(1, companions("job", "mail")))
	r.allReady().answered(token, "")
	r.pass(time.Second).orders("start manager 2", "tell manager 2 apply 2")
}

func TestWhatTheDeadSayIsIgnored(t *testing.T) {
	r := serving(t, configOf(0, companions("job"))).managerDies(crash)
	r.do(managerSaid{1, link.Message{Instance: running(r.core.config.Companions[0], 9)}})
	if i := r.core.manager.instances[key{"job", 1}]; i.Group == 9 {
		t.Error("a dead manager is believed")
	}
	r.managerDies(crash).orders().do(managerStarted{7, 1}).do(adoptedExited{9, crash}).do(adoptedGroupEnded{9}).orders()
}

func TestReopenReachesWhoUnderstandsIt(t *testing.T) {
	r := serving(t, configOf(2, companions("job"), func(c *config.Config) { c.Worker.ReopenSignal = syscall.SIGHUP }))
	r.exit("2.1", crash)
	r.do(reopenAsked{}).orders("SIGHUP 1.1", "tell manager 1 reopen")
	r = serving(t, configOf(1))
	r.do(reopenAsked{}).orders()
	r = serving(t, configOf(1, func(c *config.Config) { c.Worker.Command, c.Worker.Handler = nil, "hello" }))
	r.do(reopenAsked{}).orders("SIGUSR1 1.1")
}

func TestStatusTellsWhatIsEssential(t *testing.T) {
	cfg := configOf(0, companions("a", "b", "c"))
	cfg.Companions[1].Essential = true
	cfg.Companions[1].Numprocs = 2
	r := serving(t, cfg)
	r.report(&link.Instance{Companion: control.Companion{Name: "aa", Instance: 1}}) // removed, and not gone yet
	for _, s := range r.core.status(r.now).Companions {
		if s.Essential != (s.Name == "b") {
			t.Errorf("%s: essential=%v", s.ID(), s.Essential)
		}
	}
}

func TestAReloadWithoutAManagerShowsWhatIsConfigured(t *testing.T) {
	r := serving(t, configOf(0, companions("gone", "job", "lives"))).managerDies(byKill)
	r.do(adoptedGroupEnded{500}).do(adoptedGroupEnded{501}) // gone, job
	r.reload(configOf(0, companions("job", "new")))
	want := func(names ...string) {
		t.Helper()
		var got []string
		for _, c := range r.core.status(r.now).Companions {
			got = append(got, c.Name+" "+c.State)
		}
		if !slices.Equal(got, names) {
			t.Errorf("%q, want %q", got, names)
		}
	}
	want("job STOPPED", "lives STOPPING", "new STOPPED")
	r.do(adoptedGroupEnded{502})
	want("job STOPPED", "new STOPPED")
	if token := r.act("start", "new"); len(r.answers(token)) > 0 {
		t.Errorf("a start of one that is configured: %q, want it to wait", r.answers(token))
	}
}

func TestAManagerWaitsForThatOfAKilledGofork(t *testing.T) {
	c := newCore(configOf(0, companions("job")), nil, epoch, nil)
	now := epoch
	said := 0
	do := func(e event) (started bool) {
		for _, a := range c.step(now, e) {
			switch a := a.(type) {
			case startManager:
				started = true
			case record:
				if a.event == "manager.backoff" && a.level == slog.LevelWarn {
					said++
				}
			}
		}
		return started
	}
	do(began{})
	for attempt := 1; attempt <= 3; attempt++ {
		do(managerHeld{attempt, 99})
		do(managerHeld{attempt - 1, 99}) // an old one
		if s := c.status(now); s.Manager.State != control.ManagerBackoff || s.Manager.Restarts != 0 || s.Manager.NextRetryAt == nil {
			t.Errorf("attempt %d: %+v", attempt, s.Manager)
		}
		if now = now.Add(lookForHeld - 1); do(timePassed{}) {
			t.Error("it looked again too early")
		}
		if now = now.Add(1); !do(timePassed{}) {
			t.Error("it did not look again")
		}
	}
	if said != 1 {
		t.Errorf("said %d times, want once", said)
	}
	do(managerStarted{4, 7})
	if s := c.status(now); s.Manager.State != control.ManagerStarting || s.Manager.Restarts != 0 || s.Manager.PID != 7 {
		t.Errorf("%+v", s.Manager)
	}
}

func TestAStopDoesNotWaitForTheManagerOfAKilledGofork(t *testing.T) {
	c := newCore(configOf(0, companions("job")), nil, epoch, nil)
	c.step(epoch, began{})
	c.step(epoch, managerHeld{1, 99})
	c.step(epoch, stopAsked{by: "SIGTERM"})
	if !c.finished {
		t.Error("not finished")
	}
}

func TestAManagerThatWaitsIsGivenUpWithItsCompanions(t *testing.T) {
	c := newCore(configOf(1, companions("job")), nil, epoch, nil)
	c.step(epoch, began{})
	c.step(epoch, managerHeld{1, 99})
	now := epoch.Add(lookForHeld)
	c.step(now, timePassed{}) // the next try is ordered
	c.step(now, reloadAsked{only: true})
	c.step(now, configLoaded{number: 1, config: configOf(1)})
	c.step(now, managerHeld{2, 99})
	if s := c.status(now); s.Manager != nil || c.reload.phase != reloadIdle || !s.LastReload.OK {
		t.Errorf("%+v, phase %d of the reload", s.Manager, c.reload.phase)
	}
	for _, a := range c.step(now.Add(time.Hour), timePassed{}) {
		if _, ok := a.(startManager); ok {
			t.Error("a manager starts without companions")
		}
	}
}

func TestAReloadDoesNotWaitForAManagerThatAStopHasGivenUp(t *testing.T) {
	r := serving(t, configOf(1))
	token := r.askReload()
	c, now := r.core, r.now
	c.step(now, configLoaded{number: 2, config: configOf(1, companions("job"), func(c *config.Config) { c.Server.ShutdownDelay = time.Minute })})
	c.step(now, workerSaid{id: idOf("1.2"), ready: true}) // the manager's start is ordered
	c.step(now, stopAsked{by: "SIGTERM"})
	r.do(managerHeld{1, 99}).answered(token, "")
}
