//go:build linux

package test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

func TestKilledManagerComesBackWithoutTwoOfOneInstance(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[companion_defaults]
startsecs = "0s"
stop_timeout = "5s"
[companion.first]
command = ["@TEST", "exclusive", "@DIR/first"]
[companion.second]
command = ["@TEST", "exclusive", "@DIR/second"]
[companion.down]
command = ["@TEST", "exclusive", "@DIR/down"]
`)
	s.ready()
	for _, name := range []string{"first", "second", "down"} {
		s.awaitLines(name, 1)
	}
	s.must("companion", "stop", "down")
	before := s.status()

	m := s.mark()
	kill(t, mustLookup(t, before.Manager.PID), syscall.SIGKILL)
	exited := s.awaitSince(m, "manager.exited", "pid", before.Manager.PID)
	if exited.text("expected") != "false" || exited.Level != "ERROR" || exited.text("signal") != "SIGKILL" {
		t.Errorf("want an unexpected end by SIGKILL at level error, got %v", exited)
	}
	s.awaitSince(m, "manager.started")
	after := s.awaitStatus("the new manager runs the companions", func(st control.Status) bool {
		return st.Manager != nil && st.Manager.PID != 0 && st.Manager.PID != before.Manager.PID &&
			len(st.Companions) == 3 && allRunning(st)
	})

	// Each was asked to end by its own stop_signal, did, and then started again.
	for _, name := range []string{"first", "second"} {
		old, now := companion(t, before, name).PID, companion(t, after, name).PID
		want := fmt.Sprintf("start %d\nstop %d\nstart %d\n", old, old, now)
		s.awaitLines(name, 3)
		if got := tryRead(filepath.Join(s.dir, name)); got != want {
			t.Errorf("%s did\n%swant\n%s", name, got, want)
		}
	}
	if c := companion(t, after, "down"); c.State != control.Stopped {
		t.Errorf("the companion that was stopped by hand is %+v, want STOPPED", c)
	}
	if fmt.Sprint(workerPIDs(after)) != fmt.Sprint(workerPIDs(before)) {
		t.Errorf("workers are %v after %v, want the same", workerPIDs(after), workerPIDs(before))
	}
	if after.Manager.Restarts != 1 {
		t.Errorf("the manager has %d restarts, want 1", after.Manager.Restarts)
	}
	s.mustGet("/")
}

// A companion that does not listen cannot hold the next manager up for longer
// than its own stop_timeout, and is not doubled either.
func TestKilledManagersStubbornCompanionIsKilled(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.deaf]
command = ["@TEST", "stubborn", "@DIR/deaf"]
startsecs = "0s"
stop_timeout = "300ms"
`)
	st := s.ready()
	leader, child := s.awaitPair("deaf")
	m := s.mark()
	kill(t, mustLookup(t, st.Manager.PID), syscall.SIGKILL)
	s.awaitSince(m, "manager.started")
	if leader.alive() || child.alive() {
		t.Errorf("%v or %v lives on beside the next manager", leader, child)
	}
	s.awaitStatus("the companion runs again", func(st control.Status) bool {
		return len(st.Companions) == 1 && st.Companions[0].State == control.Running && st.Companions[0].PID != leader.PID
	})
}

// awaitLines waits until a file of the server's directory has n lines.
func (s *server) awaitLines(name string, n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s has %d lines", name, n), func() bool {
		return strings.Count(tryRead(filepath.Join(s.dir, name)), "\n") >= n
	})
}

// A gofork that is killed leaves a manager behind, for as long as its companions
// take to stop. The next gofork does not start them beside it.
func TestCompanionsWaitForThoseOfAKilledGofork(t *testing.T) {
	t.Parallel()
	dir := shortTempDir(t)
	config := fmt.Sprintf(`
[server]
runtime_dir = %q
[companion.alone]
command = ["sh", "-c", "echo start >> %[2]s; trap 'sleep 2; echo end >> %[2]s; exit' TERM; while :; do sleep 0.05; done"]
`, dir, filepath.Join(dir, "lines"))
	lines := func() string { return strings.Join(strings.Fields(tryRead(filepath.Join(dir, "lines"))), " ") }

	killed := start(t, config)
	eventually(t, "the companion runs", func() bool { return lines() == "start" })
	killed.signal(syscall.SIGKILL)
	<-killed.exited
	next := start(t, config)
	next.sock = filepath.Join(dir, "app.sock")
	next.await("manager.backoff", "level", "WARN")
	if m := next.status().Manager; m == nil || m.State != control.ManagerBackoff || m.Restarts != 0 {
		t.Errorf("the manager is %+v while it waits", m)
	}
	eventually(t, "the companion has started again", func() bool { return strings.Count(lines(), "start") == 2 })
	if got := lines(); got != "start end start" {
		t.Errorf("%s: two of one companion", got)
	}
	next.stop(patience)
	if left, err := filepath.Glob(filepath.Join(dir, "*.notify")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v: sockets of the killed one are left", left, err)
	}
}
