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

const twoHello = `
[worker]
handler = "hello"
count = 2
`

// httpWorkers serve. More are further lines of their table.
func httpWorkers(count int, more ...string) string {
	return workerTable(`command = ["@TEST", "http"]`, count, append(more, `ready = "notify"`))
}

// appWorkers serve unless the file app says otherwise.
func appWorkers(count int, more ...string) string {
	return workerTable(`command = ["@TEST", "app", "@DIR/app"]`, count, append(more, `ready = "notify"`))
}

// sleepWorkers only live.
func sleepWorkers(count int, more ...string) string {
	return workerTable(`command = ["sleep", "1000"]`, count, append(more, `ready = "alive"`, `ready_after = "50ms"`))
}

func workerTable(command string, count int, more []string) string {
	return fmt.Sprintf("\n[worker]\n%s\ncount = %d\n%s\n", command, count, strings.Join(more, "\n"))
}

func TestKilledWorkerIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello)
	before := workerPIDs(s.ready())

	m := s.mark()
	kill(t, mustLookup(t, before[0]), syscall.SIGKILL)
	exited := s.awaitSince(m, "worker.exited", "pid", before[0])
	if exited.text("signal") != "SIGKILL" || exited.text("expected") != "false" || exited.Level != "ERROR" {
		t.Errorf("want an unexpected end by SIGKILL at level error, got %v", exited)
	}
	if !strings.Contains(exited.Line, "perhaps out of memory?") {
		t.Errorf("want the hint at the out-of-memory killer, got %v", exited)
	}
	for _, key := range []string{"reason", "uptime"} {
		if exited.text(key) == "" {
			t.Errorf("%v has no %s", exited, key)
		}
	}
	started := s.awaitSince(m, "worker.started")
	if waited := started.At.Sub(exited.At); waited > 500*time.Millisecond {
		t.Errorf("the next worker started after %s, want at once", waited)
	}

	after := s.awaitStatus("two workers are ready again", func(st control.Status) bool { return st.Workers.Ready == 2 })
	now := workerPIDs(after)
	if len(now) != 2 || now[0] == before[0] || now[1] != before[1] {
		t.Errorf("workers are %v after %v; want a new first one and the same second one", now, before)
	}
	if w := after.Workers.List[0]; w.Restarts != 1 || w.LastExit == nil || w.LastExit.Signal == nil || *w.LastExit.Signal != "SIGKILL" {
		t.Errorf("slot 1 is %+v; want one restart after a SIGKILL", w)
	}
	s.mustGet("/")
}

func TestWorkerTerminatedFromOutsideIsAWarning(t *testing.T) {
	t.Parallel()
	s := start(t, sleepWorkers(1))
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT} {
		st := s.awaitStatus("the worker is ready", func(st control.Status) bool { return st.Workers.Ready == 1 })
		pid := workerPIDs(st)[0]
		given(t, s, pid) // once it is the program: on its way there it is a gofork, which SIGQUIT ends otherwise
		kill(t, mustLookup(t, pid), sig)
		exited := s.await("worker.exited", "pid", pid)
		if exited.Level != "WARN" || exited.text("expected") != "false" {
			t.Errorf("%v from outside: want an unexpected end at level warn, got %v", sig, exited)
		}
	}
}

// A handler worker drains and exits with 0, which is no crash either.
func TestHandlerWorkerTerminatedFromOutsideIsAWarning(t *testing.T) {
	t.Parallel()
	s := start(t, "[worker]\nhandler = \"hello\"\ncount = 1\nready = \"notify\"\n") // once it listens to signals
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT} {
		st := s.awaitStatus("the worker is ready", func(st control.Status) bool { return st.Workers.Ready == 1 })
		pid := workerPIDs(st)[0]
		kill(t, mustLookup(t, pid), sig)
		exited := s.await("worker.exited", "pid", pid)
		if exited.Level != "WARN" || exited.text("expected") != "false" || exited.text("code") != "0" {
			t.Errorf("%v from outside: want an unexpected end at level warn, got %v", sig, exited)
		}
	}
}

// A replacement that dies young waits, so that a crash loop does not spin.
func TestWorkerThatDiesYoungTwiceWaitsASecond(t *testing.T) {
	t.Parallel()
	s := start(t, sleepWorkers(1))
	first := workerPIDs(s.ready())[0]
	kill(t, mustLookup(t, first), syscall.SIGKILL)
	st := s.awaitStatus("the worker was replaced", func(st control.Status) bool {
		return st.Workers.Ready == 1 && workerPIDs(st)[0] != first
	})
	second := workerPIDs(st)[0]
	m := s.mark()
	kill(t, mustLookup(t, second), syscall.SIGKILL)
	exited := s.awaitSince(m, "worker.exited", "pid", second)
	s.awaitSince(m, "worker.backoff")
	started := s.awaitSince(m, "worker.started")
	if waited := started.At.Sub(exited.At); waited < 900*time.Millisecond || waited > time.Second+slack {
		t.Errorf("the third worker started after %s, want 1s", waited)
	}
}

// Socket activation promises no more than a socket that listens: neither poll nor
// O_NONBLOCK is needed to serve on it.
func TestServerThatWaitsInAccept(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]string{
		"shared":     `bind = ["@ADDR"]`,
		"reuse_port": "bind = [\"@ADDR\"]\nreuse_port = true",
		"unix":       `bind = ["unix:@DIR/web.sock"]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, "[server]\n"+server+`
[worker]
command = ["@TEST", "accept"]
count = 2
ready = "notify"
`)
			get := func() answer { return s.get("/") }
			if name == "unix" {
				get = func() answer { return getUnix(s.path("web.sock"), "/") }
			}
			before := s.ready()
			s.mustReload()
			// The old ones know nothing of a graceful end.
			s.awaitStatus("the old workers are gone", func(st control.Status) bool { return len(st.Workers.List) == 2 })
			for range 20 {
				if a := get(); a.err != nil || a.code != 200 || strings.Contains(fmt.Sprint(workerPIDs(before)), a.body) {
					t.Fatalf("%+v", a)
				}
			}
			if exits := s.journal.all(is("worker.exited", "expected", false)); len(exits) > 0 {
				t.Errorf("a worker ended: %v", exits)
			}
		})
	}
}
