package proctest_test

import (
	"errors"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/proc/proctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// in runs the test in a bubble with a Fake of these scripts.
func in(t *testing.T, scripts map[string]proctest.Script, test func(*testing.T, *proctest.Fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := proctest.New(proctest.ByPath(scripts))
		defer f.Close()
		test(t, f)
	})
}

func start(t *testing.T, f *proctest.Fake, path string) int {
	t.Helper()
	pid, err := f.Start(proc.Command{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestChildEndsAfterItsLife(t *testing.T) {
	in(t, map[string]proctest.Script{"job": {Life: time.Second, Code: 3}}, func(t *testing.T, f *proctest.Fake) {
		pid := start(t, f, "/bin/job")
		time.Sleep(time.Second - 1)
		synctest.Wait()
		if c := f.Sweep(); len(c.Exits) != 0 {
			t.Fatalf("ended early: %+v", c)
		}
		<-f.Changed()
		want := proc.Exit{PID: pid, Code: 3}
		if c := f.Sweep(); !slices.Equal(c.Exits, []proc.Exit{want}) {
			t.Errorf("%+v, want %+v", c, want)
		}
		f.AssertNothingLives(t)
	})
}

func TestSignalsHaveScriptedEffects(t *testing.T) {
	in(t, map[string]proctest.Script{
		"stubborn": {On: proctest.Ignore(syscall.SIGTERM)},
		"slow":     {On: proctest.ExitOn(2*time.Second, syscall.SIGTERM)},
	}, func(t *testing.T, f *proctest.Fake) {
		stubborn, slow, plain := start(t, f, "stubborn"), start(t, f, "slow"), start(t, f, "plain")
		for _, pid := range []int{stubborn, slow, plain} {
			if err := f.SignalGroup(pid, syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}
		if c := f.Sweep(); len(c.Exits) != 1 || c.Exits[0].PID != plain || c.Exits[0].Signal != syscall.SIGTERM {
			t.Errorf("at once: %+v, want %d killed by SIGTERM", c, plain)
		}
		if err := f.Signal(plain, 0); !errors.Is(err, proc.ErrGone) {
			t.Errorf("a signal to a reaped child: %v", err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if c := f.Sweep(); len(c.Exits) != 1 || c.Exits[0] != (proc.Exit{PID: slow}) {
			t.Errorf("after 2 s: %+v, want %d exited", c, slow)
		}
		if live := f.Live(); !slices.Equal(live, []int{stubborn}) {
			t.Errorf("live: %v", live)
		}
		if err := f.Signal(stubborn, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		f.Sweep()
		f.AssertNothingLives(t)
		if got := f.SignalsTo(stubborn); !slices.Equal(got, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}) {
			t.Errorf("recorded: %v", got)
		}
	})
}

func TestMembersOutliveTheLeader(t *testing.T) {
	in(t, map[string]proctest.Script{
		"parent": {Life: proctest.AtOnce, Members: []proctest.Script{{On: proctest.ExitOn(time.Second, syscall.SIGTERM)}}},
	}, func(t *testing.T, f *proctest.Fake) {
		pid := start(t, f, "parent")
		<-f.Changed()
		if c := f.Sweep(); len(c.Exits) != 1 || !c.Exits[0].GroupAlive || len(c.Gone) != 0 {
			t.Fatalf("%+v, want a live group", c)
		}
		if err := f.SignalGroup(pid, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-f.Changed()
		if c := f.Sweep(); !slices.Equal(c.Gone, []int{pid}) || len(c.Orphans) != 1 {
			t.Errorf("%+v, want group %d gone", c, pid)
		}
		if err := f.SignalGroup(pid, syscall.SIGTERM); !errors.Is(err, proc.ErrGone) {
			t.Errorf("a signal to a group that has ended: %v", err)
		}
	})
}

func TestAdoptedGroupIsSignalledOnlyWhenWatched(t *testing.T) {
	in(t, nil, func(t *testing.T, f *proctest.Fake) {
		pid := f.Adopt(proctest.Script{})
		if err := f.SignalGroup(pid, syscall.SIGTERM); !errors.Is(err, proc.ErrGone) {
			t.Errorf("unwatched: %v", err)
		}
		if !f.Watch(pid) {
			t.Fatal("not alive")
		}
		if err := f.SignalGroup(pid, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if c := f.Sweep(); len(c.Orphans) != 1 || !slices.Equal(c.Gone, []int{pid}) {
			t.Errorf("%+v", c)
		}
		if f.Watch(pid) {
			t.Error("alive after its end")
		}
	})
}

func TestStartsAreRecorded(t *testing.T) {
	failure := errors.New("no such file or directory")
	in(t, map[string]proctest.Script{"bad": {StartErr: failure}}, func(t *testing.T, f *proctest.Fake) {
		if _, err := f.Start(proc.Command{Path: "/x/bad"}); !errors.Is(err, failure) {
			t.Errorf("error %v", err)
		}
		time.Sleep(time.Minute)
		pid := start(t, f, "good")
		starts := f.Starts()
		if len(starts) != 2 || starts[0].Err == nil || starts[1].PID != pid || starts[1].At.Sub(starts[0].At) != time.Minute {
			t.Errorf("%+v", starts)
		}
		f.SetRSS(pid, 4096)
		if rss, err := f.RSS(pid); rss != 4096 || err != nil {
			t.Errorf("RSS = %d, %v", rss, err)
		}
		f.Exit(pid, 0)
		if _, err := f.RSS(pid); !errors.Is(err, proc.ErrGone) {
			t.Errorf("RSS of a dead process: %v", err)
		}
	})
}
