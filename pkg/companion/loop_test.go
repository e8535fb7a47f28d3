package companion

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/proc/proctest"
)

func TestRunningAfterStartsecsToTheNanosecond(t *testing.T) {
	inBubble(t, nil, func(m *managed) {
		m.apply(target("a"))
		m.expect("a", control.Starting)
		m.pass(time.Second - 1)
		m.expect("a", control.Starting)
		m.pass(1)
		m.expect("a", control.Running)
		if c := m.state("a"); c.PID == 0 || c.StartedAt == nil || !c.StartedAt.Equal(m.began) {
			t.Errorf("%+v", c)
		}
		// An idle manager has nothing to wake up for.
		before := len(m.messages())
		m.pass(1000 * time.Hour)
		if after := len(m.messages()); after != before {
			t.Errorf("%d messages from an idle manager", after-before)
		}
		m.stop(false)
	})
}

func TestCrashingCompanionStartsAfter1_2_4_8_16_30_30Seconds(t *testing.T) {
	inBubble(t, map[string]proctest.Script{"a": {Life: time.Second, Code: 1}}, func(m *managed) {
		m.apply(target("a"))
		for n, d := range []int{1, 2, 4, 8, 16, 30, 30} {
			m.pass(time.Second)
			m.expect("a", control.Backoff)
			m.pass(time.Duration(d)*time.Second - 1)
			m.expectStarts("a", n+1)
			m.pass(1)
			m.expectStarts("a", n+2)
		}
		if c := m.state("a"); c.Restarts != 7 || c.Exits != 7 || c.Failures != 7 {
			t.Errorf("%+v", c)
		}
		m.stop(false)
	})
}

func TestProgramThatIsNotThereBacksOffAndGivesUp(t *testing.T) {
	inBubble(t, map[string]proctest.Script{"a": {StartErr: fs.ErrNotExist}}, func(m *managed) {
		m.apply(target("a", func(s *config.Companion) { s.Startretries = 2 }),
			specOf("b", func(s *config.Companion) { s.Command, s.Startretries = []string{"/nowhere/b"}, 1 }))
		m.pass(time.Second - 1)
		m.expectStarts("a", 1)
		m.pass(1)
		m.expectStarts("a", 2)
		m.pass(2 * time.Second)
		m.expect("a", control.Fatal)
		m.expect("b", control.Fatal)
		for _, name := range []string{"a", "b"} {
			if c := m.state(name); c.LastExit == nil || c.LastExit.Code == nil || *c.LastExit.Code != 127 || c.PID != 0 {
				t.Errorf("%s: %+v", name, c.LastExit)
			}
		}
		if reason := m.state("b").LastExit.Reason; reason != "cannot find /nowhere/b: no such file or directory" {
			t.Errorf("reason %q", reason)
		}
		m.act(opStart, "b")
		if got := m.doneWith(); got != "done cannot start b: cannot find /nowhere/b: no such file or directory" {
			t.Errorf("the start was told %q", got)
		}
		m.stop(false)
	})
}

func TestStopWindowToTheNanosecond(t *testing.T) {
	inBubble(t, map[string]proctest.Script{"a": deaf}, func(m *managed) {
		m.apply(target("a"))
		m.act(opStop, "a")
		m.expectSent("SIGTERM group a")
		m.pass(time.Minute - 1)
		m.expectSent("SIGTERM group a")
		if got := m.doneWith(); got != "" {
			t.Errorf("the stop was told %q before its end", got)
		}
		m.pass(1)
		m.expectSent("SIGTERM group a", "SIGKILL group a")
		m.expect("a", control.Stopped)
		if c := m.state("a"); m.doneWith() != "done" || c.StopKills != 1 || !c.LastExit.Expected {
			t.Errorf("%q, %+v", m.doneWith(), c)
		}
		m.stop(false)
	})
}

func TestLeftMembersDelayTheRestartUntilTheyAreKilled(t *testing.T) {
	inBubble(t, map[string]proctest.Script{"a": {Life: 10 * time.Second, Members: []proctest.Script{deaf}}}, func(m *managed) {
		m.apply(target("a"))
		m.pass(10 * time.Second)
		m.expectSent("SIGTERM group a")
		m.pass(time.Minute - 1)
		m.expect("a", control.Backoff)
		m.expectStarts("a", 1)
		m.pass(1)
		m.expectStarts("a", 2)
		m.stop(false)
		m.pass(time.Minute)
	})
}

// All kinds at once: polite, slow, deaf, with deaf members, in backoff, exited
// with members left.
func TestShutdownLeavesNothingAlive(t *testing.T) {
	scripts := map[string]proctest.Script{
		"polite": {}, "slow": {On: proctest.ExitOn(20*time.Second, syscall.SIGTERM)}, "deaf": deaf,
		"family": {Members: []proctest.Script{deaf, {}}}, "failing": {Life: proctest.AtOnce, Code: 1},
		"gone": {Life: time.Second, Members: []proctest.Script{deaf}},
	}
	specs := []config.Companion{
		target("polite", procs(3)), target("slow"), target("deaf", func(s *config.Companion) { s.StopTimeout = 30 * time.Second }),
		target("family"), target("failing"), target("gone", func(s *config.Companion) { s.Autorestart = config.RestartNever }),
	}
	for _, tt := range []struct {
		name   string
		end    func(*managed)
		within time.Duration
	}{
		{"stop", func(m *managed) { m.stop(false) }, time.Minute},
		{"quick stop", func(m *managed) { m.stop(true) }, 5 * time.Second},
		{"stop, then quick", func(m *managed) { m.stop(false); m.stop(true) }, 5 * time.Second},
		{"SIGTERM", func(m *managed) { m.signals <- syscall.SIGTERM; synctest.Wait() }, time.Minute},
		{"SIGINT", func(m *managed) { m.signals <- os.Interrupt; synctest.Wait() }, 5 * time.Second},
		{"the arbiter is gone", func(m *managed) { m.line.Close(); synctest.Wait() }, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, scripts, func(m *managed) {
				m.apply(specs...)
				m.pass(10 * time.Second)
				m.expect("polite:3", control.Running)
				starts := len(m.system.Starts())
				tt.end(m)
				m.pass(tt.within - 1)
				m.expectEnded(false) // a deaf one lives
				m.pass(1)
				m.expectEnded(true)
				if n := len(m.system.Starts()); n != starts {
					t.Errorf("%d starts after the stop", n-starts)
				}
			})
		})
	}
}

// A daemon that left its group is killed at the end: nothing may be left.
func TestDaemonsThatLeftTheirGroupEndWithTheManager(t *testing.T) {
	inBubble(t, nil, func(m *managed) {
		m.apply(target("a"))
		m.system.Adopt(deaf)
		m.stop(false)
		m.expectEnded(true)
	})
}

// slowly makes each start take a millisecond.
func slowly(proc.Command) proctest.Script {
	<-time.After(time.Millisecond)
	return proctest.Script{}
}

func thousand(change ...func(*config.Companion)) []config.Companion {
	specs := make([]config.Companion, 1000)
	for n := range specs {
		specs[n] = target(fmt.Sprintf("c%03d", n), change...)
	}
	return specs
}

// The stop overtakes the rest of a thousand starts, which are left out then.
func TestStopDoesNotWaitForTheRestOfManyStarts(t *testing.T) {
	inBubbleOf(t, slowly, func(m *managed) {
		m.arbiter.Send(link.Message{Apply: &link.Apply{ID: 1, Specs: thousand()}})
		<-time.After(100*time.Millisecond + 1)
		m.arbiter.Send(link.Message{Stop: &link.Stop{}})
		m.pass(2 * time.Millisecond)
		m.expectEnded(true)
		if n := len(m.system.Starts()); n < 90 || n > 102 {
			t.Errorf("%d of 1000 were started", n)
		}
	})
}

// Clocks of a companion begin with its process, not with its place in the queue.
func TestClocksBeginWithTheProcess(t *testing.T) {
	inBubbleOf(t, slowly, func(m *managed) {
		m.arbiter.Send(link.Message{Apply: &link.Apply{ID: 1, Specs: thousand(func(s *config.Companion) { s.Startsecs = 10 * time.Millisecond })}})
		m.pass(time.Second - 1)
		m.expect("c980", control.Running)
		m.expect("c999", control.Starting)
		m.pass(10 * time.Millisecond)
		m.expect("c999", control.Starting)
		m.pass(1)
		m.expect("c999", control.Running)
		m.stop(false)
	})
}

func TestCrashDuringManyStartsIsSeenAtOnce(t *testing.T) {
	script := func(c proc.Command) proctest.Script {
		slowly(c)
		if companionOf(c) == "c000" {
			return proctest.Script{Life: 10 * time.Millisecond, Code: 1}
		}
		return proctest.Script{}
	}
	inBubbleOf(t, script, func(m *managed) {
		m.arbiter.Send(link.Message{Apply: &link.Apply{ID: 1, Specs: thousand()}})
		m.pass(20 * time.Millisecond)
		m.expect("c000", control.Backoff)
		m.pass(time.Minute)
		m.stop(false)
	})
}

func TestApplyIsAnsweredWhenProcessesAreThere(t *testing.T) {
	inBubbleOf(t, slowly, func(m *managed) {
		m.arbiter.Send(link.Message{Apply: &link.Apply{ID: 1, Specs: thousand()}})
		m.pass(time.Second)
		seen := 0
		for _, message := range m.messages() {
			switch {
			case message.Instance != nil && message.Instance.PID != 0:
				seen++
			case message.Applied != nil && seen < 1000:
				t.Errorf("the answer came after %d of 1000 records with a pid", seen)
				return
			case message.Applied != nil:
				m.stop(false)
				return
			}
		}
		t.Error("no answer after all starts")
	})
}

func TestOutputThatIsNotCapturedIsRefused(t *testing.T) {
	inBubble(t, nil, func(m *managed) {
		m.apply(target("a"))
		m.send(link.Message{Logs: &link.Logs{ID: 5, Name: "a", Lines: 10}})
		last := m.messages()[len(m.messages())-1].Lines
		if last == nil || !last.End || last.Error == nil || last.Error.Code != codeConflict {
			t.Errorf("%+v", last)
		}
		m.stop(false)
	})
}

func TestSignalsAndUserSignalsReachTheLeaderAlone(t *testing.T) {
	inBubble(t, map[string]proctest.Script{"a": {On: proctest.Ignore(syscall.SIGHUP)}}, func(m *managed) {
		m.apply(target("a"))
		m.send(link.Message{Act: &link.Act{ID: 1, Op: opSignal, Name: "a", Signal: syscall.SIGHUP}})
		m.expectSent("SIGHUP a")
		m.stop(false)
		m.expectSent("SIGHUP a", "SIGTERM group a")
	})
}

func TestReopenSignalReopens(t *testing.T) {
	l := newLoopForTest(t)
	reopened := 0
	l.Reopen = func() { reopened++ }
	l.signal(syscall.SIGUSR1)
	l.hear([]link.Message{{Reopen: &link.Reopen{}}}, true)
	l.signal(syscall.SIGHUP) // the arbiter's business
	if reopened != 2 {
		t.Errorf("reopened %d times", reopened)
	}
}

func TestChildrenAreToldOfThemselves(t *testing.T) {
	inBubble(t, nil, func(m *managed) {
		m.apply(target("a", procs(2), func(s *config.Companion) { s.Env = map[string]string{"GOFORK_PID": "mine", "K": "v"} }))
		c := m.system.Starts()[1].Command
		for name, want := range map[string]string{
			"GOFORK_COMPANION": "a", "GOFORK_INSTANCE": "2", "GOFORK_PID": "7", "K": "v", "PATH": "/bin",
			"GOFORK_ROLE": "target", "GOFORK_SPEC": "a", "NOTIFY_SOCKET": "",
		} {
			if got := variable(c.Env, name); got != want {
				t.Errorf("%s=%s, want %s", name, got, want)
			}
		}
		if len(c.Args) != 1 || c.Args[0] != "gofork: companion a:2" {
			t.Errorf("argv %q", c.Args)
		}
		m.stop(false)
	})
}

func TestTargetThatCannotBeEncodedIsAFailedStart(t *testing.T) {
	l := newLoopForTest(t)
	l.TargetSpec = func(TargetSpec) (string, error) { return "", errors.New("unsupported value: NaN") }
	l.step(applyAsked{link.Apply{ID: 1, Specs: []config.Companion{target("a")}}})
	l.start(l.starts[0])
	i := l.core.byKey[key{"a", 1}]
	if i.phase != backoff || i.lastExit.Reason != "cannot start target a: unsupported value: NaN" || *i.lastExit.Code != 126 {
		t.Errorf("%s, %+v", i.phase, i.lastExit)
	}
}
