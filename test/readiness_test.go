//go:build linux

package test

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

func TestAWrongNotificationIsToldAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
command = ["@TEST", "garbled"]
count = 1
ready = "notify"
[companion.c]
command = ["@TEST", "garbled"]
startsecs = "50s"
`)
	s.ready()
	for _, role := range []string{"arbiter", "manager"} {
		told := s.journal.await(t, 0, func(r record) bool {
			return r.text("msg") == "notification dropped" && r.text("role") == role
		}, "the "+role+" tells of a wrong notification")
		if told.text("level") != "WARN" || told.text("reason") != `no assignment: "READY"` || told.pid() == 0 {
			t.Errorf("%s", told)
		}
	}
}

func TestReadyIsWhatTheModeSays(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mode       string
		readyAfter string
		notify     bool
		at         time.Duration // earliest, when nothing is sent
	}{
		{mode: "notify", readyAfter: "10ms", notify: true},
		{mode: "alive", readyAfter: "400ms", at: 400 * time.Millisecond},
		{mode: "auto", readyAfter: "400ms", at: 400 * time.Millisecond},
		{mode: "auto", readyAfter: "50s", notify: true},
	} {
		t.Run(fmt.Sprintf("%s after %s", tt.mode, tt.readyAfter), func(t *testing.T) {
			t.Parallel()
			s := start(t, fmt.Sprintf(`
[worker]
command = ["@TEST", "ready-on"]
count = 1
ready = %q
ready_after = %q
`, tt.mode, tt.readyAfter))
			s.await("worker.started")
			if tt.notify {
				eventually(t, "the worker waits", func() bool { return s.journal.printed("waiting for SIGUSR1") })
				if a := getUnix(s.sock, "/readyz"); a.code == 200 {
					t.Error("gofork is ready before its worker said so")
				}
				st := s.status()
				if w := st.Workers.List[0]; w.State != control.WorkerBooting || st.Workers.Ready != 0 {
					t.Errorf("the worker is %q before it said READY=1, want booting", w.State)
				}
				kill(t, mustLookup(t, workerPIDs(st)[0]), syscall.SIGUSR1)
			}
			ready := s.await("worker.ready")
			// Its own word, because the clock runs from before the process exists, and
			// a busy machine logs its start late.
			boot, err := strconv.ParseFloat(ready.text("boot"), 64)
			if took := time.Duration(boot * float64(time.Second)); err != nil || took < tt.at {
				t.Errorf("the worker was ready after %s (%v), want not before %s", took, err, tt.at)
			}
			s.await("server.ready")
		})
	}
}

// READY=1 ends STARTING before startsecs is over.
func TestCompanionMayAnnounceItself(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.slow]
command = ["@TEST", "ready-on"]
startsecs = "300s"
`)
	eventually(t, "the companion waits", func() bool { return s.journal.printed("waiting for SIGUSR1") })
	c := s.awaitCompanion("slow", control.Starting)
	kill(t, mustLookup(t, c.PID), syscall.SIGUSR1)
	s.awaitCompanion("slow", control.Running)
}

// Only the kernel's word counts for who sent a message: the client is no worker
// and cannot make one ready.
func TestNotifyFromOutsideIsIgnored(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
command = ["@TEST", "ready-on"]
count = 1
ready = "notify"
`)
	eventually(t, "the worker waits", func() bool { return s.journal.printed("waiting for SIGUSR1") })
	worker := workerPIDs(s.status())[0]
	socket := environ(worker)["NOTIFY_SOCKET"]
	if err := notify(socket, "READY=1"); err != nil {
		t.Fatal(err)
	}
	// A message is handled before a request that comes after it.
	if st := s.status(); st.Workers.Ready != 0 {
		t.Errorf("a stranger made worker %d ready", worker)
	}
	kill(t, mustLookup(t, worker), syscall.SIGUSR1)
	s.await("worker.ready")
}

func TestSilentHeartbeatIsAbortedThenKilled(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
command = ["@TEST", "beat-once"]
count = 1
ready = "notify"
timeout = "500ms"
abort_grace = "300ms"
`)
	started := s.await("worker.started")
	timeout := s.await("worker.timeout")
	if timeout.Level != "ERROR" || !strings.Contains(timeout.Msg, "worker timeout") {
		t.Errorf(`want "worker timeout" at level error, got %v`, timeout)
	}
	if quiet := timeout.At.Sub(started.At); quiet < 480*time.Millisecond {
		t.Errorf("the heartbeat was missed after %s, before its timeout", quiet)
	}
	s.await("worker.killed")
	exited := s.await("worker.exited", "signal", "SIGKILL")
	if waited := exited.At.Sub(timeout.At); waited < 280*time.Millisecond {
		t.Errorf("SIGKILL came %s after SIGABRT, before abort_grace", waited)
	}
	s.awaitStatus("another worker is ready", func(st control.Status) bool {
		return st.Workers.Ready == 1 && workerPIDs(st)[0] != exited.pid()
	})
}

// Who never sends a heartbeat is not held to one.
func TestHeartbeatIsEnforcedFromTheFirstOn(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
command = ["sleep", "1000"]
count = 1
ready = "alive"
ready_after = "10ms"
timeout = "100ms"
[companion.clock]
command = ["sleep", "1"]
autorestart = "never"
startsecs = "0s"
`)
	s.await("companion.exited", "code", 0) // a second has passed
	if missed := s.journal.all(is("worker.timeout")); len(missed) > 0 {
		t.Errorf("a worker without heartbeat was timed out: %v", missed)
	}
}

func TestFrozenHandlerWorkerIsReplaced(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
timeout = "2s"
abort_grace = "300ms"
`)
	frozen := workerPIDs(s.ready())[0]
	kill(t, mustLookup(t, frozen), syscall.SIGSTOP)
	s.await("worker.timeout", "pid", frozen)
	s.await("worker.exited", "pid", frozen, "signal", "SIGKILL")
	s.awaitStatus("both are ready again", func(st control.Status) bool {
		return st.Workers.Ready == 2 && workerPIDs(st)[0] != frozen
	})
}
