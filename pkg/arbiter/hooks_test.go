package arbiter

import (
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/proc/proctest"
)

// runnable makes hooks of this name, of a program that exists.
func runnable(t *testing.T, names ...string) func(*config.Config) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return func(c *config.Config) {
		c.Hooks.Commands = map[string][]string{}
		for _, n := range names {
			c.Hooks.Commands[n] = []string{self}
		}
	}
}

// failures are the hooks that failed and why.
func (s *served) failures() (all []string) {
	for _, e := range s.event("hook.failed") {
		all = append(all, e.Attrs["hook"].(string)+": "+e.Attrs["reason"].(string))
	}
	return all
}

func TestHooksRunOneAtATimeInOrder(t *testing.T) {
	scripts := map[string]proctest.Script{"pre_fork": {Life: 2 * time.Second}, "post_fork": {Life: time.Second}}
	inBubble(t, configOf(2, runnable(t, "pre_fork", "post_fork")), scripts, func(s *served) {
		s.ready(1, 2)
		for n, life := range []time.Duration{2 * time.Second, 2 * time.Second, time.Second, time.Second} {
			if got := len(s.started("pre_fork")) + len(s.started("post_fork")); got != n+1 {
				t.Fatalf("%d hooks have started, want %d", got, n+1)
			}
			s.pass(life)
		}
		if got := len(s.started("worker")); got != 2 {
			t.Errorf("%d workers: hooks keep nobody waiting", got)
		}
		if f := s.failures(); len(f) != 0 {
			t.Errorf("%q", f)
		}
		s.signal(syscall.SIGTERM)
	})
}

func TestAHookThatFailsIsLogged(t *testing.T) {
	scripts := map[string]proctest.Script{
		"pre_fork":   {Life: time.Second, Code: 3},
		"post_fork":  {Life: time.Second, Signal: syscall.SIGSEGV},
		"when_ready": {StartErr: os.ErrPermission},
	}
	inBubble(t, configOf(1, runnable(t, "pre_fork", "post_fork", "when_ready")), scripts, func(s *served) {
		s.ready(1)
		s.pass(time.Minute)
		got := s.failures()
		if len(got) != 3 || got[0] != "pre_fork: exited with code 3" || got[1] != "post_fork: killed by SIGSEGV" {
			t.Errorf("%q", got)
		}
		s.signal(syscall.SIGTERM)
	})
}

func TestHooksTimeoutToTheNanosecond(t *testing.T) {
	scripts := map[string]proctest.Script{"pre_fork": {On: proctest.Ignore(syscall.SIGTERM)}}
	inBubble(t, configOf(1, runnable(t, "pre_fork", "post_fork")), scripts, func(s *served) {
		s.ready(1)
		pid := s.started("pre_fork")[0]
		s.before(10*time.Second, "SIGKILL", s.got(pid, syscall.SIGKILL))
		if got := s.failures(); !slices.Equal(got, []string{"pre_fork: killed after hooks.timeout (10s)"}) {
			t.Errorf("%q", got)
		}
		if len(s.started("post_fork")) != 1 {
			t.Error("the next one waits on")
		}
		s.signal(syscall.SIGTERM)
		s.pass(10 * time.Second) // it hangs too
	})
}

func TestTheHooksOfTheLastExitsRunToTheirEnd(t *testing.T) {
	scripts := map[string]proctest.Script{"child_exit": {Life: 3 * time.Second}}
	inBubble(t, configOf(1, runnable(t, "child_exit", "on_exit")), scripts, func(s *served) {
		s.ready(1)
		s.signal(syscall.SIGTERM)
		s.pass(time.Minute)
		pid := s.started("child_exit")[0]
		if got := s.system.SignalsTo(pid); len(got) != 0 {
			t.Errorf("the hook got %v", got)
		}
		if f := s.failures(); len(f) != 0 {
			t.Errorf("%q", f)
		}
	})
}

func TestAHangingHookDelaysTheEndByItsTimeoutAtMost(t *testing.T) {
	scripts := map[string]proctest.Script{"pre_fork": {}}
	inBubble(t, configOf(1, runnable(t, "pre_fork", "child_exit")), scripts, func(s *served) {
		s.ready(1)
		s.signal(syscall.SIGTERM)
		s.pass(10 * time.Second)
		if !s.over() {
			t.Error("gofork waits on")
		}
	})
}

func TestAQuickStopHasNoTimeForHooks(t *testing.T) {
	scripts := map[string]proctest.Script{"pre_fork": {}}
	inBubble(t, configOf(1, runnable(t, "pre_fork")), scripts, func(s *served) {
		s.ready(1)
		s.pass(9 * time.Second / 2)
		s.signal(syscall.SIGQUIT)
		s.pass(quickWindow)
		if !s.over() {
			t.Error("gofork waits on")
		}
	})
}

func TestAnUpgradeWhoseHookEndsDuringTheStopIsRefused(t *testing.T) {
	scripts := map[string]proctest.Script{"pre_exec": {Life: 3 * time.Second}}
	inBubble(t, configOf(1, runnable(t, "pre_exec")), scripts, func(s *served) {
		s.ready(1)
		s.signal(syscall.SIGUSR2)
		s.signal(syscall.SIGTERM)
		s.pass(3 * time.Second)
		if n := len(s.system.Starts()); n != 2 {
			t.Errorf("%d starts: a worker and a hook, and no new arbiter", n)
		}
	})
}

func TestOnStartingIsWaitedForAndStopsTheStart(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script proctest.Script
		fails  bool
		took   time.Duration
	}{
		{"done", proctest.Script{Life: 3 * time.Second}, false, 3 * time.Second},
		{"code 1", proctest.Script{Life: time.Second, Code: 1}, true, time.Second},
		{"hangs", proctest.Script{}, true, 10 * time.Second},
		{"not startable", proctest.Script{StartErr: os.ErrPermission}, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := configOf(1, runnable(t, "on_starting"))
			synctest.Test(t, func(t *testing.T) {
				system := proctest.New(func(proc.Command) proctest.Script { return tt.script })
				defer system.Close()
				l := newLoop(Options{Config: cfg, System: system, Logger: silent(), PID: 7})
				begun := time.Now()
				if err := l.runHook("on_starting"); (err != nil) != tt.fails {
					t.Errorf("error %v", err)
				}
				if took := time.Since(begun); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				system.AssertNothingLives(t)
				if err := l.runHook("on_exit"); err != nil {
					t.Errorf("a hook that is not configured: %v", err)
				}
			})
		})
	}
}

func TestOnExitRunsWhateverTheQueueHeld(t *testing.T) {
	cfg := configOf(1, runnable(t, "child_exit", "on_exit"))
	synctest.Test(t, func(t *testing.T) {
		system := proctest.New(func(c proc.Command) proctest.Script {
			if roleOf(c) == "child_exit" {
				return proctest.Script{}
			}
			return proctest.Script{Life: time.Second}
		})
		defer system.Close()
		l := newLoop(Options{Config: cfg, System: system, Logger: silent(), PID: 7})
		l.queueHook("child_exit", nil, nil)
		l.finish(0)
		if err := l.runHook("on_exit"); err != nil {
			t.Error(err)
		}
		starts := system.Starts()
		if last := starts[len(starts)-1]; roleOf(last.Command) != "on_exit" {
			t.Errorf("last started: %s", roleOf(last.Command))
		}
		system.AssertNothingLives(t)
	})
}

func TestTheQueueOfHooksIsBounded(t *testing.T) {
	cfg := configOf(1, runnable(t, "child_exit"))
	synctest.Test(t, func(t *testing.T) {
		system := proctest.New(nil)
		defer system.Close()
		l := newLoop(Options{Config: cfg, System: system, Logger: silent(), PID: 7})
		for range maxHooks {
			l.queueHook("child_exit", nil, nil)
		}
		var got error
		l.queueHook("child_exit", nil, func(err error) { got = err })
		if got == nil || len(l.hooks) != maxHooks {
			t.Errorf("%d wait, error %v", len(l.hooks), got)
		}
	})
}
