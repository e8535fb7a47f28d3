//go:build linux

package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

func TestKilledCompanionRestartsAfterASecond(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[companion.victim]
command = ["sleep", "1000"]
startsecs = "100ms"
`)
	st := s.ready()
	victim := companion(t, st, "victim")

	m := s.mark()
	kill(t, mustLookup(t, victim.PID), syscall.SIGKILL)
	exited := s.awaitSince(m, "companion.exited", "pid", victim.PID)
	if exited.text("signal") != "SIGKILL" || exited.text("expected") != "false" || exited.Level != "ERROR" {
		t.Errorf("want an unexpected end by SIGKILL at level error, got %v", exited)
	}
	for _, key := range []string{"reason", "uptime"} {
		if exited.text(key) == "" {
			t.Errorf("%v has no %s", exited, key)
		}
	}
	backoff := s.awaitSince(m, "companion.backoff", "failures", 1)
	if backoff.text("delay") == "" {
		t.Errorf("%v has no delay", backoff)
	}
	started := s.awaitSince(m, "companion.started")
	if waited := started.At.Sub(exited.At); waited < 950*time.Millisecond || waited > time.Second+slack {
		t.Errorf("the companion started again after %s, want 1s", waited)
	}

	now := s.awaitCompanion("victim", control.Running)
	if now.PID == victim.PID || now.Restarts != 1 || now.Exits != 1 {
		t.Errorf("the companion is %+v; want another pid, one exit, one restart", now)
	}
	if e := now.LastExit; e == nil || e.Signal == nil || *e.Signal != "SIGKILL" || e.Expected {
		t.Errorf("the last exit is %+v, want an unexpected SIGKILL", e)
	}
	if after := s.status(); fmt.Sprint(workerPIDs(after)) != fmt.Sprint(workerPIDs(st)) || after.Manager.PID != st.Manager.PID {
		t.Error("a companion's end touched a worker or the manager")
	}
}

func TestStoppedCompanionIsExpectedAndStaysStopped(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.one]
command = ["sleep", "1000"]
startsecs = "0s"
[companion.other]
command = ["sleep", "1000"]
startsecs = "0s"
`)
	st := s.ready()
	one, other := companion(t, st, "one"), companion(t, st, "other")

	s.must("companion", "stop", "one")
	exited := s.await("companion.exited", "pid", one.PID)
	if exited.text("expected") != "true" || exited.Level != "INFO" {
		t.Errorf("want an expected end at level info, got %v", exited)
	}
	st = s.status()
	if c := companion(t, st, "one"); c.State != control.Stopped || c.Desired != control.Down || c.PID != 0 {
		t.Errorf("the stopped companion is %+v", c)
	}
	if c := companion(t, st, "other"); c.PID != other.PID || c.State != control.Running {
		t.Errorf("the other companion is %+v, want pid %d untouched", c, other.PID)
	}

	s.must("companion", "start", "one")
	if c := s.awaitCompanion("one", control.Running); c.PID == one.PID || c.Desired != control.Up {
		t.Errorf("the companion that was started again is %+v", c)
	}
}

func TestCompanionExitCodesDoNotStopTheWebTier(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[companion.three]
command = ["@TEST", "exit", "3"]
backoff_initial = "100ms"
backoff_max = "100ms"
[companion.four]
command = ["@TEST", "exit", "4"]
startretries = 1
backoff_initial = "50ms"
`)
	s.await("server.ready")
	pids := workerPIDs(s.status())
	for _, code := range []int{3, 4} {
		first := s.await("companion.exited", "code", code)
		if first.Level != "ERROR" || first.text("expected") != "false" {
			t.Errorf("want an unexpected end at level error, got %v", first)
		}
	}
	s.await("companion.fatal")
	s.awaitCompanion("four", control.Fatal)
	s.mustGet("/")
	if now := workerPIDs(s.status()); fmt.Sprint(now) != fmt.Sprint(pids) {
		t.Errorf("workers are %v after %v", now, pids)
	}
}

func TestBackoffDoublesUntilItsLimit(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.failing]
command = ["false"]
startsecs = "10s"
startretries = 4
backoff_initial = "200ms"
backoff_max = "400ms"
`)
	s.await("companion.fatal")
	exits := s.journal.all(is("companion.exited", "code", 1))
	starts := s.journal.all(is("companion.started"))
	if len(starts) != 5 || len(exits) != 5 {
		t.Fatalf("%d starts and %d exits, want 5: one start and four restarts", len(starts), len(exits))
	}
	const unit = time.Millisecond
	for i, want := range []time.Duration{200 * unit, 400 * unit, 400 * unit, 400 * unit} {
		if got := starts[i+1].At.Sub(exits[i].At); got < want-20*time.Millisecond || got > want+slack {
			t.Errorf("restart %d came after %s, want %s", i+1, got, want)
		}
	}
	if d := s.awaitCompanion("failing", control.Fatal).Description; d == "" {
		t.Error("a companion that gave up has no description")
	}
}

// A leader's end is not the group's: the rest gets stop_signal, then SIGKILL,
// and only then the next one starts.
func TestRestartWaitsForTheLeadersGroup(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.family]
command = ["@TEST", "stubborn", "@DIR/family"]
startsecs = "0s"
backoff_initial = 0
stop_timeout = "400ms"
`)
	s.ready()
	leader, child := s.awaitPair("family")
	m := s.mark()
	kill(t, leader, syscall.SIGKILL)
	exited := s.awaitSince(m, "companion.exited", "pid", leader.PID)
	started := s.awaitSince(m, "companion.started")
	if waited := started.At.Sub(exited.At); waited < 350*time.Millisecond {
		t.Errorf("the next one started %s after the leader's end, before its group had its stop_timeout", waited)
	}
	if child.alive() {
		t.Errorf("the leader's child %v lives beside the next instance", child)
	}
}

// awaitPair waits for the two pids that the roles stubborn and daemonize write.
func (s *server) awaitPair(file string) (leader, child process) {
	s.t.Helper()
	var a, b int
	eventually(s.t, "the child has written its pids", func() bool {
		n, err := fmt.Sscanf(tryRead(s.dir+"/"+file), "%d %d", &a, &b)
		return err == nil && n == 2
	})
	return mustLookup(s.t, a), mustLookup(s.t, b)
}

func TestInstancesAreNumbered(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.queue]
command = ["sleep", "1000"]
numprocs = 3
startsecs = "0s"
`)
	st := s.ready()
	for i, id := range []string{"queue", "queue:2", "queue:3"} {
		env := environ(companion(t, st, id).PID)
		if env["GOFORK_COMPANION"] != "queue" || env["GOFORK_INSTANCE"] != fmt.Sprint(i+1) {
			t.Errorf("%s has GOFORK_COMPANION=%s GOFORK_INSTANCE=%s", id, env["GOFORK_COMPANION"], env["GOFORK_INSTANCE"])
		}
	}
	s.must("companion", "stop", "queue:2")
	st = s.status()
	for id, want := range map[string]string{"queue": control.Running, "queue:2": control.Stopped, "queue:3": control.Running} {
		if got := companion(t, st, id).State; got != want {
			t.Errorf("%s is %s, want %s", id, got, want)
		}
	}
}

func TestCompanionOutputBecomesRecords(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.talker]
command = ["sh", "-c", "echo one line; echo another >&2; exec sleep 1000"]
stdout = "log"
stderr = "stdout"
`)
	for _, text := range []string{"one line", "another"} {
		rec := s.journal.await(t, 0, says(text), text)
		if !strings.Contains(rec.Line, "talker") {
			t.Errorf("%v does not say whose line it is", rec)
		}
	}
}

// A line without an end must not grow in gofork's memory.
func TestLongOutputLineIsSplit(t *testing.T) {
	t.Parallel()
	const size = 300_000
	s := start(t, fmt.Sprintf(`
[companion.shouts]
command = ["sh", "-c", "head -c %d /dev/zero | tr '\\0' x; echo; echo the end; exec sleep 1000"]
stdout = "log"
`, size))
	s.journal.await(t, 0, says("the end"), "the line after the long one")
	total := 0
	for _, r := range s.journal.all(says("xxxx")) {
		n := strings.Count(r.Line, "x")
		if n > 64<<10 {
			t.Errorf("a record holds %d bytes of one line, want 64 KiB at most", n)
		}
		total += n
	}
	if total < size {
		t.Errorf("%d of %d bytes were logged", total, size)
	}
}
