package arbiter

import (
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
)

func TestAGracefulStop(t *testing.T) {
	r := serving(t, configOf(2, companions("job"))).stop(false)
	r.orders("SIGTERM 1.1", "SIGTERM 2.1", "tell manager 1 stop").logs("server.stopping", slog.LevelInfo, "by", "SIGTERM", "quick", "false", "budget", "1m11s")
	r.exit("1.1", exitedOK).orders()
	r.passTo(30 * time.Second).orders("SIGKILL group 2.1")
	r.exit("2.1", byKill).logs("worker.exited", slog.LevelInfo, "expected", "true").orders()
	r.managerDies(exitedOK)
	r.do(adoptedGroupEnded{500}).orders("finish 0")
}

func TestTheStopSignalIsTheConfigured(t *testing.T) {
	r := serving(t, configOf(1, func(c *config.Config) { c.Worker.StopSignal = syscall.SIGINT })).stop(false).orders("SIGINT 1.1")
	r.exit("1.1", exitedOK).orders("finish 0")
}

func TestAQuickStop(t *testing.T) {
	r := serving(t, configOf(2, companions("job"))).stop(true)
	r.orders("SIGQUIT 1.1", "SIGQUIT 2.1", "tell manager 1 stop quick")
	r.exit("1.1", exitedOK).passTo(5 * time.Second).orders("SIGKILL group 2.1")
	r.exit("2.1", byKill).passTo(time.Second).orders("SIGKILL manager 1")
	r.managerDies(byKill).orders("SIGKILL adopted group 500")
	r.do(adoptedGroupEnded{500}).orders("finish 0")
}

func TestASecondSignalMakesAStopQuick(t *testing.T) {
	r := serving(t, configOf(2, companions("job"))).stop(false).pass(10 * time.Second).stop(false)
	r.orders("SIGQUIT 1.1", "SIGQUIT 2.1", "tell manager 1 stop quick").logs("server.stopping", slog.LevelInfo, "quick", "true")
	r.stop(false).orders().stop(true).orders() // a third says nothing new
	r.passTo(5*time.Second).orders("SIGKILL group 1.1", "SIGKILL group 2.1")
}

// A preStop hook runs "gofork stop", and then the platform sends its SIGTERM: the
// first signal, and nothing to hurry for.
func TestASignalAfterARequestedStopHurriesNobody(t *testing.T) {
	request := stopAsked{token: 1, by: "request"}
	r := serving(t, configOf(1, companions("job"))).do(request).pass(time.Second).stop(false).orders()
	r.notLogged("server.stopping").stop(false).orders("SIGQUIT 1.1", "tell manager 1 stop quick")
	serving(t, configOf(1, companions("job"))).do(request).stop(true).orders("SIGQUIT 1.1", "tell manager 1 stop quick")

	// The same when gofork has decided by itself.
	r = serving(t, configOf(1))
	r.core.fail(r.now, "an essential companion has ended", 9)
	r.stop(false).orders()
}

func TestAStopThatIsAskedForAgainIsUnderWay(t *testing.T) {
	cfg := configOf(1, companions("job"), func(c *config.Config) { c.Server.ShutdownDelay = 10 * time.Second })
	r := serving(t, cfg)
	r.do(stopAsked{token: 1, by: "request"}).orders()
	r.do(stopAsked{token: 2, by: "request"}).answered(2, "").orders() // the delay is not over
	r.passTo(10*time.Second).orders("SIGTERM 1.1", "tell manager 1 stop")
	r.pass(10 * time.Second)
	r.do(stopAsked{token: 3, by: "request"}).orders()
	r.passTo(20 * time.Second).orders("SIGKILL group 1.1") // the window goes on from the first
}

func TestAQuickStopNeverProlongsAWindow(t *testing.T) {
	r := serving(t, configOf(1, companions("job"))).stop(false).pass(28 * time.Second).stop(true)
	r.passTo(2 * time.Second).orders("SIGKILL group 1.1")
}

func TestShutdownDelay(t *testing.T) {
	cfg := configOf(2, companions("job"), func(c *config.Config) { c.Server.ShutdownDelay = 10 * time.Second })
	r := serving(t, cfg).stop(false).orders()
	if r.core.shownState() != "stopping" {
		t.Errorf("state %s", r.core.shownState())
	}
	r.exit("1.1", crash).orders("start 1.2 generation 1").allReady() // it still serves
	r.passTo(10*time.Second).orders("SIGTERM 1.2", "SIGTERM 2.1", "tell manager 1 stop")
	r = serving(t, cfg).stop(false).pass(time.Second).stop(false).orders("SIGQUIT 1.1", "SIGQUIT 2.1", "tell manager 1 stop quick")
	r.pass(4 * time.Second).orders()
	r.pass(time.Second).orders("SIGKILL group 1.1", "SIGKILL group 2.1")
}

func TestAStopInTheMiddleOfEverything(t *testing.T) {
	for name, before := range map[string]func(r *rig){
		"nothing is ready":  func(*rig) {},
		"one boots":         func(r *rig) { r.ready("1.1") },
		"a slot waits":      func(r *rig) { r.exit("1.1", crash) },
		"a boot timed out":  func(r *rig) { r.pass(time.Minute) },
		"one hangs":         func(r *rig) { r.allReady().beat("1.1").pass(30 * time.Second) },
		"scaled away":       func(r *rig) { r.allReady(); r.scale(1, 0) },
		"members left":      func(r *rig) { r.allReady().exitLeaving("2.1", crash) },
		"recycling":         func(r *rig) { r.allReady().wants("1.1") },
		"recycled":          func(r *rig) { r.allReady().wants("1.1").allReady() },
		"many wait to boot": func(r *rig) { r.allReady(); r.scale(20, 0) },
		"the manager died":  func(r *rig) { r.managerUp().managerDies(byKill) },
		"an upgrade":        func(r *rig) { r.allReady(); r.do(upgradeAsked{token: 999}) },
	} {
		for _, quick := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				r := newRig(t, configOf(2, companions("job")))
				before(r)
				r.stop(quick)
				var end time.Time
				for n := 0; !r.core.finished && n < 100; n++ {
					end = r.core.earliest()
					if end.IsZero() {
						end = r.now
					}
					r.pass(end.Sub(r.now))
					// Nobody listens to anything but SIGKILL.
					for _, a := range r.last {
						switch a := a.(type) {
						case signalWorkerGroup:
							if w := r.core.find(a.id); w != nil && a.signal == syscall.SIGKILL {
								r.step(workerExited{id: a.id, status: byKill})
								r.step(workerGroupEnded{a.id})
							}
						case signalManager:
							r.step(managerExited{attempt: a.attempt, status: byKill})
						case signalAdopted:
							if a.signal == syscall.SIGKILL {
								r.step(adoptedGroupEnded{a.group})
							}
						}
					}
					if m := &r.core.manager; m.phase == managerKilling && m.leader {
						r.managerDies(byKill)
					}
					for _, o := range r.core.manager.orphans() {
						if o.deadline.IsZero() {
							r.do(adoptedGroupEnded{o.group})
						}
					}
					for _, s := range r.core.slots {
						for _, w := range s.workers {
							if w.phase == killing {
								r.do(workerExited{id: w.id, status: byKill}).do(workerGroupEnded{w.id})
								break
							}
						}
					}
				}
				if !r.core.finished {
					t.Fatalf("not finished: %+v", r.core.slots)
				}
				limit := r.core.stop.since.Add(71 * time.Second)
				if quick {
					limit = r.core.stop.since.Add(quickWindow + time.Second)
				}
				if r.now.After(limit) {
					t.Errorf("it took %v", r.now.Sub(r.core.stop.since))
				}
			})
		}
	}
}

func TestAHungWorkerIsKilledWithinAQuickStop(t *testing.T) {
	r := serving(t, configOf(1, func(c *config.Config) { c.Worker.AbortGrace = time.Minute })).beat("1.1").pass(30*time.Second).is("1.1", aborting)
	r.stop(true).passTo(quickWindow).orders("SIGKILL group 1.1")
}

func TestAFailureDuringAStopChangesNoCode(t *testing.T) {
	r := newRig(t, configOf(2, func(c *config.Config) { c.Server.ShutdownDelay = time.Second })).stop(false)
	r.exit("1.1", exitStatus{code: 4}).orders()
	r.pass(time.Second).exit("2.1", exitedOK).orders("finish 0")
}

func TestAStopIsAnswered(t *testing.T) {
	r := serving(t, configOf(1))
	r.do(stopAsked{token: 1, by: "request"}).answered(1, "")
	r.do(stopAsked{token: 2, by: "request", quick: true}).answered(2, "")
	r.do(stopAsked{token: 3, by: "request", quick: true}).answered(3, "")
}
