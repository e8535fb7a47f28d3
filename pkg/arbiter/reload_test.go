package arbiter

import (
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// retired are the generations kept by the last retireListeners of a step.
func (r *rig) retired() []int {
	var keep []int
	for _, a := range r.last {
		if a, ok := a.(retireListeners); ok {
			keep = a.keep
		}
	}
	return keep
}

func (r *rig) retires(keep ...int) *rig {
	r.t.Helper()
	if got := r.retired(); !slices.Equal(got, keep) {
		r.t.Errorf("listeners kept: those of %v, want %v", got, keep)
	}
	return r
}

func TestReloadReplacesAllWorkersAtOnceWhenTheSurgeAllows(t *testing.T) {
	r := serving(t, configOf(2))
	token := r.reload(configOf(2))
	r.orders("start 1.2 generation 2", "start 2.2 generation 2")
	r.ready("2.2").orders().unanswered(token) // all or nothing
	r.ready("1.2").orders("SIGTERM 1.1", "SIGTERM 2.1").retires(2).answered(token, "")
	r.logs("reload.done", slog.LevelInfo, "generation", "2")
	if s := r.core.status(r.now); s.Generation != 2 || s.Workers.Ready != 2 || !s.LastReload.OK || s.State != control.StateRunning {
		t.Errorf("%+v", s)
	}
	r.exit("1.1", exitedOK).orders()
	r.passTo(30 * time.Second).orders("SIGKILL group 2.1")
	r.exit("2.1", byKill).shows("1.2 generation 2 ready", "2.2 generation 2 ready")
}

func TestReloadRollsWithASmallSurge(t *testing.T) {
	r := serving(t, configOf(3))
	token := r.reload(configOf(3, surge(1)))
	r.orders("start 1.2 generation 2")
	r.ready("1.2").orders("SIGTERM 1.1")
	r.exit("1.1", exitedOK).orders("start 2.2 generation 2")
	r.ready("2.2").orders("SIGTERM 2.1").exit("2.1", exitedOK)
	r.unanswered(token)
	r.ready("3.2").orders("SIGTERM 3.1").answered(token, "").retires(2)
	r.drained().shows("1.2 generation 2 ready", "2.2 generation 2 ready", "3.2 generation 2 ready")
}

func TestAFailedBootTakesTheWholeReloadBack(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fail   func(r *rig)
		reason string
	}{
		{"exit 4", func(r *rig) { r.exit("1.2", exitStatus{code: 4}) }, "worker slot 1 exited before ready: app failed to load (code 4); generation 1 goes on serving"},
		{"exit 1", func(r *rig) { r.exit("1.2", crash) }, "worker slot 1 exited before ready: code 1"},
		{"signal", func(r *rig) { r.exit("1.2", byKill) }, "worker slot 1 exited before ready: signal SIGKILL"},
		{"not startable", func(r *rig) { r.exit("1.2", noStart) }, "did not start: " + noStart.startError},
		{"ready, then dead", func(r *rig) { r.ready("1.2").exit("1.2", crash) }, "exited before the others were ready: code 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serving(t, configOf(2))
			token := r.reload(configOf(2))
			tt.fail(r)
			r.orders("SIGTERM 2.2").retires(1).answered(token, "cannot reload: ").answered(token, tt.reason)
			r.logs("reload.failed", slog.LevelError, "generation", "1")
			if tt.name == "exit 4" && r.core.stop.asked {
				t.Error("gofork stops")
			}
			r.drained().shows("1.1 generation 1 ready", "2.1 generation 1 ready")
			s := r.core.status(r.now)
			if s.Generation != 1 || s.LastReload.OK || s.State != control.StateRunning || s.Workers.Ready != 2 {
				t.Errorf("%+v", s)
			}
			r.pass(time.Hour).orders()
			r.reload(configOf(2))
			r.orders("start 1.3 generation 3", "start 2.3 generation 3") // 2 is not used again
		})
	}
}

func TestABootTimeoutDuringAReloadStartsNobodyElse(t *testing.T) {
	r := serving(t, configOf(3))
	token := r.reload(configOf(3, surge(9))) // there is room for more
	r.ready("3.2").pass(time.Minute)
	r.orders("SIGKILL group 1.2", "SIGKILL group 2.2")
	r.exit("1.2", byKill).orders("SIGTERM 3.2").answered(token, "was not ready within boot_timeout (1m0s)")
	r.exit("2.2", byKill).notLogged("worker.backoff").orders()
	r.drained().pass(time.Hour).orders()
	r.shows("1.1 generation 1 ready", "2.1 generation 1 ready", "3.1 generation 1 ready")
}

func TestAHungSuccessorStartsNobodyElse(t *testing.T) {
	r := serving(t, configOf(2))
	r.reload(configOf(2, surge(9)))
	r.ready("1.2").beat("1.2").passTo(30 * time.Second).orders("SIGABRT 1.2")
	r.exit("1.2", byKill).orders("SIGTERM 2.2")
}

func TestAFailureAfterTheFirstReplacementsKeepsBothGenerations(t *testing.T) {
	r := serving(t, configOf(3))
	token := r.askReload()
	r.do(configLoaded{number: r.loading().number, config: configOf(3, surge(1)), listeners: []string{"tcp://127.0.0.1:9000"}})
	r.ready("1.2").exit("1.1", exitedOK)
	r.exit("2.2", crash).retires(1, 2)
	r.answered(token, "worker slot 2 exited before ready: code 1; generation 1 goes on serving, beside 1 worker of generation 2")
	r.shows("1.2 generation 2 ready", "2.1 generation 1 ready", "3.1 generation 1 ready")
	s := r.core.status(r.now)
	if s.Generation != 1 || s.Workers.Ready != 3 {
		t.Errorf("generation %d, %d ready", s.Generation, s.Workers.Ready)
	}
	if got := strings.Join(s.Listeners, " "); got != "tcp://127.0.0.1:8000 tcp://127.0.0.1:9000" {
		t.Errorf("listening at %s", got) // the new address is open for the slot that has it
	}
	r.pass(time.Hour).exit("1.2", crash).orders("start 1.3 generation 2") // each under its own
	r.exit("3.1", crash).orders("start 3.2 generation 1")
	r.allReady()
	token = r.reload(configOf(3))
	r.orders("start 1.4 generation 3", "start 2.3 generation 3", "start 3.3 generation 3")
	r.allReady().answered(token, "").retires(3)
	if got := strings.Join(r.core.status(r.now).Listeners, " "); got != "tcp://127.0.0.1:8000" {
		t.Errorf("listening at %s", got)
	}
}

func TestReloadNeverGoesAboveCountAndSurgeWhileSlotsWaitInBackoff(t *testing.T) {
	r := serving(t, configOf(4))
	for n := 1; n <= 4; n++ { // every slot is in backoff
		r.exit(fmt.Sprintf("%d.1", n), crash)
		r.exit(fmt.Sprintf("%d.2", n), crash)
	}
	r.reload(configOf(4, surge(1)))
	r.orders("start 1.3 generation 2")
	r.pass(time.Second)
	if live := r.live(); live > 5 {
		t.Errorf("%d live, want at most 5", live)
	}
}

func (r *rig) live() int {
	n := 0
	for _, s := range r.core.slots {
		for _, w := range s.workers {
			if w.leader {
				n++
			}
		}
	}
	return n
}

func TestReloadWaitsForThoseWhoDrain(t *testing.T) {
	r := serving(t, configOf(2))
	r.reload(configOf(2))
	r.allReady() // two drain, two are ready: no room
	token := r.reload(configOf(2))
	r.orders()
	r.exit("1.1", exitedOK).orders("start 1.3 generation 3")
	r.exit("2.1", exitedOK).orders("start 2.3 generation 3")
	r.allReady().answered(token, "")
}

func TestStopDuringEveryPhaseOfAReload(t *testing.T) {
	phases := map[string]func(r *rig) (token uint64){
		"loading": func(r *rig) uint64 { return r.askReload() },
		"rolling": func(r *rig) uint64 { return r.reload(configOf(2, companions("job"))) },
		"half ready": func(r *rig) uint64 {
			defer r.ready("1.2")
			return r.reload(configOf(2, companions("job")))
		},
		"applying": func(r *rig) uint64 {
			defer r.allReady()
			return r.reload(configOf(2, companions("job")))
		},
		"failed": func(r *rig) uint64 {
			defer r.exit("1.2", crash)
			return r.reload(configOf(2, companions("job")))
		},
	}
	for name, begin := range phases {
		t.Run(name, func(t *testing.T) {
			r := serving(t, configOf(2, companions("job")))
			token := begin(r)
			again := r.askReload()
			r.stop(false)
			if name != "failed" {
				r.answered(token, "gofork is stopping")
				r.logged("reload.failed")
			}
			if last := r.core.reload.last; last == nil || last.OK {
				t.Errorf("the last reload is %+v", last)
			}
			r.answered(again, "gofork is stopping")
			for _, s := range r.core.slots {
				for _, w := range slices.Clone(s.workers) {
					if w.phase != draining {
						t.Errorf("%v is %s", w.id, w.phase)
					}
					r.exit(fmt.Sprintf("%d.%d", w.slot, w.attempt), exitedOK)
				}
			}
			r.loaded(configOf(2)).orders() // too late
			r.managerDies(exitedOK)
			r.do(adoptedGroupEnded{500}).orders("finish 0")
			for _, a := range r.all {
				if s, ok := a.(signalWorker); ok && s.signal != 15 {
					t.Errorf("%v got %v", s.id, s.signal)
				}
			}
			termOnce(t, r)
		})
	}
}

// termOnce checks that no worker got its stop signal twice.
func termOnce(t *testing.T, r *rig) {
	t.Helper()
	seen := map[id]int{}
	for _, a := range r.all {
		if a, ok := a.(signalWorker); ok {
			seen[a.id]++
		}
	}
	for who, n := range seen {
		if n != 1 {
			t.Errorf("%v got %d stop signals", who, n)
		}
	}
}

func TestACrashOfAnOldWorkerDuringAReloadIsHandledAtOnce(t *testing.T) {
	r := serving(t, configOf(2))
	token := r.reload(configOf(2))
	r.exit("1.1", crash).orders("start 1.3 generation 1")
	r.ready("1.2", "2.2").orders("SIGTERM 1.3", "SIGTERM 2.1").answered(token, "")
}

func TestACrashedOldWorkerServesAgainWhenTheReloadFails(t *testing.T) {
	r := serving(t, configOf(12)) // more than start at once
	r.reload(configOf(12))
	r.exit("12.1", crash) // while its successor waits for its turn
	r.exit("1.2", crash)
	r.drained().pass(time.Second)
	r.allReady()
	if s := r.core.status(r.now); s.Workers.Ready != 12 {
		t.Errorf("%d of 12 are ready", s.Workers.Ready)
	}
}

func TestAReloadGoesOnFromASlotThatHadNoWorker(t *testing.T) {
	r := serving(t, configOf(3, surge(1)))
	r.exit("1.1", crash).exit("1.2", crash) // slot 1 waits before its next try
	token := r.reload(configOf(3, surge(1)))
	r.orders("start 1.3 generation 2")
	r.ready("1.3").orders("start 2.2 generation 2") // nobody drains, whose end could bring it on
	r.ready("2.2").drained().orders("start 3.2 generation 2")
	r.ready("3.2").drained().answered(token, "")
}

func TestStatusAndScaleDuringAReload(t *testing.T) {
	for _, tt := range []struct {
		name  string
		count int
		scale int
		surge func(*config.Config)
	}{
		{"up", 2, 4, func(*config.Config) {}},
		{"down", 4, 2, func(*config.Config) {}},
		{"up, rolling", 2, 4, surge(1)},
		{"up, from atomic to rolling", 2, 5, surge(2)},
		{"down, rolling", 4, 1, surge(1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serving(t, configOf(tt.count))
			token := r.reload(configOf(tt.count, tt.surge))
			if s := r.core.status(r.now); s.State != control.StateReloading {
				t.Errorf("state %s", s.State)
			}
			r.answered(r.scale(tt.scale, 0), "")
			for range 20 {
				r.allReady().drained()
			}
			r.answered(token, "")
			s := r.core.status(r.now)
			if s.Workers.Configured != tt.scale || s.Workers.Ready != tt.scale || len(s.Workers.List) != tt.scale || s.Generation != 2 {
				t.Errorf("generation %d, %+v", s.Generation, s.Workers)
			}
			for _, w := range s.Workers.List {
				if w.Generation != 2 {
					t.Errorf("slot %d is of generation %d", w.Slot, w.Generation)
				}
			}
		})
	}
}

// A reload to another count is under way, and somebody scales: to the count that
// there still is, or by so many more than there will be.
func TestAScaleDuringAReloadThatChangesTheCountHasTheLastWord(t *testing.T) {
	for _, tt := range []struct {
		name      string
		to, delta int
		want      int
	}{
		{"to the present count", 2, 0, 2},
		{"to the coming count", 4, 0, 4},
		{"one more", 0, 1, 5},
		{"one less", 0, -1, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serving(t, configOf(2))
			token := r.reload(configOf(4, surge(1)))
			r.answered(r.scale(tt.to, tt.delta), "")
			for range 20 {
				r.allReady().drained()
			}
			r.answered(token, "")
			if s := r.core.status(r.now); s.Workers.Configured != tt.want || s.Workers.Ready != tt.want || s.Generation != 2 {
				t.Errorf("generation %d, %d of %d workers ready, want %d", s.Generation, s.Workers.Ready, s.Workers.Configured, tt.want)
			}
		})
	}
}

func TestASecondReloadIsQueuedOnce(t *testing.T) {
	r := serving(t, configOf(1))
	first := r.reload(configOf(1))
	second, third := r.askReload(), r.askReload()
	r.orders()
	r.allReady().answered(first, "").unanswered(second)
	if n := r.loading().number; n != 3 {
		t.Errorf("loading number %d, want 3", n)
	}
	r.loaded(configOf(1)).drained()
	r.allReady().drained()
	r.answered(second, "").answered(third, "")
	if r.core.reload.phase != reloadIdle || r.core.generation.number != 3 {
		t.Errorf("phase %d, generation %d", r.core.reload.phase, r.core.generation.number)
	}
}

func TestAReloadQueuedBehindAFailedOneIsDone(t *testing.T) {
	r := serving(t, configOf(1))
	first := r.askReload()
	second := r.askReload()
	r.do(configLoaded{number: r.loading().number, err: "cannot reload: app.toml:3: bad"})
	r.answered(first, "app.toml:3: bad").unanswered(second)
	r.loaded(configOf(1)).allReady().answered(second, "")
}

func TestABadFileChangesNothing(t *testing.T) {
	r := serving(t, configOf(2, companions("job")))
	before := r.core.config
	token := r.askReload()
	r.do(configLoaded{number: r.loading().number, err: "cannot reload: app.toml:3: bad"}).orders().answered(token, "bad")
	if r.core.config != before || r.core.generation.number != 1 || r.retired() != nil {
		t.Error("something has changed")
	}
	r.notLogged("worker.started")
}

func TestTheFilesOwnCountAndTheUsers(t *testing.T) {
	for _, tt := range []struct{ file, scaled, next, want int }{
		{2, 4, 2, 4}, // kept
		{2, 4, 3, 3}, // the file's own count changed
		{4, 2, 4, 2},
		{2, 2, 5, 5},
		{5, 5, 1, 1},
	} {
		t.Run(fmt.Sprintf("%d, scaled to %d, then %d", tt.file, tt.scaled, tt.next), func(t *testing.T) {
			r := serving(t, configOf(tt.file))
			r.scale(tt.scaled, 0)
			r.allReady().drained()
			r.reload(configOf(tt.next))
			for range 4 {
				r.allReady().drained()
			}
			if s := r.core.status(r.now).Workers; s.Configured != tt.want || s.Ready != tt.want || len(s.List) != tt.want {
				t.Errorf("%+v, want %d", s, tt.want)
			}
		})
	}
}

func TestAChangedCountIsTold(t *testing.T) {
	for _, n := range []int{1, 4} {
		r := serving(t, configOf(2, hooks("nworkers_changed")))
		r.reload(configOf(n, hooks("nworkers_changed")))
		r.allReady().logs("workers.scaled", slog.LevelInfo, "old", "2", "new", fmt.Sprint(n), "by", "reload")
		if env, ok := r.hasHook("nworkers_changed"); !ok || strings.Join(env, " ") != fmt.Sprintf("GOFORK_WORKERS_OLD=2 GOFORK_WORKERS_NEW=%d", n) {
			t.Errorf("nworkers_changed: %v %q", ok, env)
		}
	}
}

func TestAGrowthThatFailsLeavesNoSlotEmpty(t *testing.T) {
	r := serving(t, configOf(2))
	r.reload(configOf(5, surge(1)))
	r.ready("4.1").orders() // slot 3 is not there yet: 4 waits
	r.exit("3.1", crash)
	r.drained().pass(time.Hour)
	r.allReady()
	if s := r.core.status(r.now).Workers; s.Configured != 2 || s.Ready != 2 || len(s.List) != 2 {
		t.Errorf("%+v", s)
	}
}

func TestWorkersComeAndGoWithTheirTable(t *testing.T) {
	r := serving(t, configOf(0, companions("job")))
	token := r.reload(configOf(3, companions("job"), surge(1)))
	r.ready("3.1").ready("2.1")
	r.exit("1.1", crash).answered(token, "worker slot 1")
	r.drained().pass(time.Hour).allReady().shows()
	r.reload(configOf(3, companions("job")))
	r.allReady().managerUp()
	if s := r.core.status(r.now).Workers; s.Ready != 3 {
		t.Errorf("%+v", s)
	}
	token = r.reload(configOf(0, companions("job")))
	r.orders("SIGTERM 1.2", "SIGTERM 2.2", "SIGTERM 3.2", "tell manager 1 apply 1").retires(4)
	r.managerUp().answered(token, "").drained().shows()
}

func TestASlotThatComesBackIsOfTheGenerationThatServes(t *testing.T) {
	r := serving(t, configOf(2))
	r.scale(1, 0)
	r.drained()
	r.reload(configOf(2)) // scaled: it stays at one
	r.allReady().drained()
	r.scale(2, 0)
	r.orders("start 2.2 generation 2")
}

func TestReread(t *testing.T) {
	r := serving(t, configOf(2, companions("job")))
	r.tokens++
	token := r.tokens
	r.do(reloadAsked{token: token, only: true})
	if a := r.loading(); !a.only || a.number != 1 {
		t.Errorf("%+v", a)
	}
	r.loaded(configOf(7, companions("job", "mail"))).orders("tell manager 1 apply 2")
	if r.core.config.Worker.Count != 2 {
		t.Errorf("the web tier has changed: %d", r.core.config.Worker.Count)
	}
	for _, a := range r.last {
		if m, ok := a.(tellManager); ok && !m.message.Apply.Reload {
			t.Error("on_reload counts in a reread, too")
		}
	}
	change := control.CompanionsChange{Added: []string{"mail"}, Unchanged: []string{"job"}}
	r.do(managerSaid{1, link.Message{Applied: &link.Applied{ID: r.core.manager.applies, Change: change}}}).answered(token, "")
	if !reflect.DeepEqual(r.core.reload.last.Companions, change) {
		t.Errorf("%+v", r.core.reload.last)
	}
	r.reload(configOf(2, companions("job", "mail")))
	if n := r.loading().number; n != 2 {
		t.Errorf("a reread has used a number: the next is %d", n)
	}
}

// What a reload does not take up is told, or it would look as if it had.
func TestAReloadTellsWhatOnlyARestartTakesUp(t *testing.T) {
	const tcp, unix = "127.0.0.1:8000", "unix:/run/app.sock"
	bind := func(addresses ...string) func(*config.Config) {
		return func(c *config.Config) { c.Server.Bind = addresses }
	}
	sockets := func(c *config.Config) {
		c.Server.Backlog, c.Server.ReusePort, c.Server.UnixSocketMode = 7, true, 0o600
	}
	for _, tt := range []struct {
		name         string
		before, next *config.Config
		want         string
	}{
		{"nothing", configOf(1, bind(tcp)), configOf(2, bind(tcp)), ""},
		{"what is read at the start", configOf(1), configOf(1, func(c *config.Config) {
			c.Name, c.Server.Pidfile, c.Server.RuntimeDir, c.Server.Chdir = "x", "x", "x", "x"
			c.Log.Level, c.Log.Access, c.Control.Mode, c.Server.GracefulTimeout = "debug", "record", 0o666, time.Second
		}), "control.mode log.level name server.chdir server.pidfile server.runtime_dir"},
		{"of sockets that stay", configOf(1, bind(tcp, unix)), configOf(1, bind(tcp, unix), sockets), "server.backlog server.reuse_port server.unix_socket_mode"},
		{"of a TCP socket", configOf(1, bind(tcp)), configOf(1, bind(tcp), sockets), "server.backlog server.reuse_port"},
		{"of sockets that are opened", configOf(1, bind(tcp)), configOf(1, bind(unix), sockets), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := serving(t, tt.before)
			r.tokens++
			dry := r.tokens
			r.do(reloadAsked{token: dry, dry: true}).do(configLoaded{token: dry, config: tt.next, plan: &control.Plan{}})
			results := []*control.Reload{reloadResult(t, r, dry)}
			token := r.reload(tt.next)
			r.allReady()
			results = append(results, reloadResult(t, r, token), r.core.status(r.now).LastReload)
			for i, result := range results {
				if got := strings.Join(result.NeedsRestart, " "); got != tt.want || !result.OK {
					t.Errorf("result %d: %q, want %q", i, got, tt.want)
				}
			}
		})
	}
}

// It stays true until the restart, or until the file says again what is in effect.
func TestWhatNeedsARestartIsNotForgotten(t *testing.T) {
	moved := func(c *config.Config) { c.Server.Pidfile = "x" }
	r := serving(t, configOf(1))
	for i, tt := range []struct {
		next *config.Config
		want string
	}{
		{configOf(1, moved), "server.pidfile"},
		{configOf(1, moved), "server.pidfile"},
		{configOf(1), ""},
	} {
		token := r.reload(tt.next)
		r.allReady().answered(token, "").drained()
		if got := strings.Join(r.core.status(r.now).LastReload.NeedsRestart, " "); got != tt.want {
			t.Errorf("reload %d: %q, want %q", i+1, got, tt.want)
		}
	}
}

func reloadResult(t *testing.T, r *rig, token uint64) *control.Reload {
	t.Helper()
	for _, a := range r.all {
		if a, ok := a.(reply); ok && a.token == token {
			return a.value.(*control.Reload)
		}
	}
	t.Fatal("there is no answer")
	return nil
}

func TestADryRunAnswersAndChangesNothing(t *testing.T) {
	r := serving(t, configOf(2))
	r.reload(configOf(2)) // even beside a reload
	r.tokens++
	token := r.tokens
	r.do(reloadAsked{token: token, dry: true})
	a := r.loading()
	if !a.dry || a.token != token {
		t.Errorf("%+v", a)
	}
	plan := &control.Plan{Workers: "new generation", Companions: []control.PlanCompanion{
		{Name: "c", Action: "start"}, {Name: "e", Action: "stop"}, {Name: "a", Action: "restart"}, {Name: "d", Action: "scale"}, {Name: "b", Action: "none"},
	}}
	r.do(configLoaded{token: token, config: configOf(9), plan: plan}).answered(token, "")
	want := &control.Reload{At: r.now, OK: true, Plan: plan, NeedsRestart: []string{}, Companions: control.CompanionsChange{
		Added: []string{"c"}, Removed: []string{"e"}, Restarted: []string{"a"}, Unchanged: []string{"b", "d"},
	}}
	if !slices.ContainsFunc(r.last, func(a action) bool { return reflect.DeepEqual(a, reply{token, want}) }) {
		t.Errorf("%+v does not answer %+v", r.last, want)
	}
	r.tokens++
	r.do(reloadAsked{token: r.tokens, dry: true})
	r.do(configLoaded{token: r.tokens, err: "bad"}).answered(r.tokens, "bad")
	r.allReady()
	if r.core.count != 2 || r.core.generation.number != 2 {
		t.Errorf("count %d, generation %d", r.core.count, r.core.generation.number)
	}
}

func TestTheManagersAnswerEndsAReload(t *testing.T) {
	r := serving(t, configOf(1, companions("job")))
	token := r.reload(configOf(1, companions("job", "mail")))
	r.allReady().orders("SIGTERM 1.1", "tell manager 1 apply 2").unanswered(token)
	r.do(managerSaid{1, link.Message{Applied: &link.Applied{ID: 1}}}).unanswered(token) // an old one
	r.managerUp().answered(token, "")
}

func TestAHungOrDeadManagerEndsAReloadToo(t *testing.T) {
	r := serving(t, configOf(1, companions("job")))
	token := r.reload(configOf(1, companions("job")))
	r.allReady()
	r.pass(70*time.Second).answered(token, "has not answered in time")
	token = r.reload(configOf(1, companions("job")))
	r.drained().allReady()
	r.managerDies(byKill).answered(token, "the manager died")
	if r.core.generation.number != 3 {
		t.Errorf("generation %d: the new workers serve", r.core.generation.number)
	}
}

func TestAReloadDuringShutdownDelayAnswersEverybody(t *testing.T) {
	delay := func(c *config.Config) { c.Server.ShutdownDelay = 10 * time.Second }
	r := serving(t, configOf(1, delay))
	first := r.reload(configOf(1, delay))
	second := r.askReload()
	r.stop(false)
	r.ready("1.2").answered(first, "").answered(second, "gofork is stopping")
	for _, a := range r.last {
		if s, ok := a.(tellSystemd); ok && strings.HasPrefix(s.state, "READY=1") {
			t.Errorf("systemd is told %q after STOPPING=1", s.state)
		}
	}
}

func TestSystemdSeesAReload(t *testing.T) {
	var told []string
	r := serving(t, configOf(1))
	r.reload(configOf(1))
	r.allReady()
	for _, a := range r.all {
		if s, ok := a.(tellSystemd); ok {
			told = append(told, s.state)
		}
	}
	if want := []string{"READY=1\nSTATUS=running", stateReloading, "READY=1\nSTATUS=running"}; !slices.Equal(told, want) {
		t.Errorf("%q, want %q", told, want)
	}
}

func TestAReloadBringsParkedWorkersBack(t *testing.T) {
	r := serving(t, configOf(3))
	r.scale(2, 0)
	r.drained()
	r.do(parkAsked{by: "SIGWINCH"}).orders("SIGTERM 1.1", "SIGTERM 2.1").drained()
	r.do(parkAsked{by: "SIGWINCH"}).orders()
	r.reload(configOf(3))
	r.allReady()
	if r.core.count != 2 {
		t.Errorf("count %d", r.core.count)
	}
	r.do(parkAsked{by: "SIGWINCH"}).drained()
	r.reload(configOf(0, companions("job")))
	r.managerUp()
	r.reload(configOf(3, companions("job")))
	r.allReady().managerUp()
	if r.core.count != 3 {
		t.Errorf("count %d: the workers had been taken away for good", r.core.count)
	}
}
