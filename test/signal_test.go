//go:build linux

package test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// signals returns how many of each the arbiter has logged, by name.
func (s *server) signals(from mark) map[string]int {
	seen := map[string]int{}
	for _, r := range s.journal.since(from, is("server.signal")) {
		seen[r.text("signal")]++
	}
	return seen
}

// Signals of one kind that come before the first is taken are one signal for the
// kernel, so the next of a kind is sent when the one before was seen. Different
// ones come as fast as they can be sent, whatever gofork is doing then: reloads
// run, workers boot and drain, a hook runs.
func TestNoSignalOfABurstIsLost(t *testing.T) {
	t.Parallel()
	const total = 200
	s := start(t, `
[worker]
command = ["sleep", "1000"]
count = 1
ready = "alive"
ready_after = "10ms"
[hooks]
pre_exec = ["false"]
`)
	s.ready()
	kinds := []syscall.Signal{
		syscall.SIGHUP, syscall.SIGTTIN, syscall.SIGUSR1, syscall.SIGTTOU, syscall.SIGWINCH, syscall.SIGTTIN, syscall.SIGUSR2,
	}
	names := map[syscall.Signal]string{
		syscall.SIGHUP: "SIGHUP", syscall.SIGTTIN: "SIGTTIN", syscall.SIGTTOU: "SIGTTOU", syscall.SIGUSR1: "SIGUSR1",
		syscall.SIGUSR2: "SIGUSR2", syscall.SIGWINCH: "SIGWINCH",
	}
	sent := map[string]int{}
	m := s.mark()
	for i := range total {
		sig := kinds[i%len(kinds)]
		name := names[sig]
		if sent[name] > 0 {
			eventually(t, fmt.Sprintf("%s number %d was taken", name, sent[name]), func() bool { return s.signals(m)[name] == sent[name] })
		}
		s.signal(sig)
		sent[name]++
	}
	eventually(t, "the last ones were taken", func() bool {
		seen := s.signals(m)
		delete(seen, "SIGCHLD")
		return maps.Equal(seen, sent)
	})
	for _, r := range s.journal.since(m, is("server.signal")) {
		if !strings.Contains(r.Msg, "handling signal") {
			t.Errorf(`want "handling signal" in %v`, r)
		}
	}
	s.signal(syscall.SIGHUP) // back from the last WINCH
	s.awaitStatus("it runs", func(st control.Status) bool {
		return st.State == "running" && st.Workers.Ready == st.Workers.Configured
	})
	s.stop(patience)
}

func TestEverySignalIsHandled(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sig  syscall.Signal
		name string
		does func(s *server, m mark)
	}{
		{syscall.SIGHUP, "SIGHUP", func(s *server, m mark) { s.awaitSince(m, "reload.done") }},
		{syscall.SIGTTIN, "SIGTTIN", func(s *server, m mark) { s.awaitSince(m, "workers.scaled", "old", 2, "new", 3) }},
		{syscall.SIGTTOU, "SIGTTOU", func(s *server, m mark) { s.awaitSince(m, "workers.scaled", "old", 2, "new", 1) }},
		{syscall.SIGUSR1, "SIGUSR1", func(s *server, _ mark) { s.awaitLines("worker", 2) }},
		{syscall.SIGUSR2, "SIGUSR2", func(s *server, m mark) { s.awaitSibling(m).end() }},
		{syscall.SIGWINCH, "SIGWINCH", func(s *server, m mark) { s.awaitSince(m, "workers.scaled", "old", 2, "new", 0) }},
		{syscall.SIGTERM, "SIGTERM", func(s *server, m mark) { s.stopping(m, false) }},
		{syscall.SIGINT, "SIGINT", func(s *server, m mark) { s.stopping(m, true) }},
		{syscall.SIGQUIT, "SIGQUIT", func(s *server, m mark) { s.stopping(m, true) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, `
[worker]
command = ["@TEST", "usr1", "@DIR/worker"]
count = 2
ready = "notify"
reopen_signal = "SIGUSR1"
`)
			s.ready()
			m := s.mark()
			s.signal(tt.sig)
			r := s.awaitSince(m, "server.signal", "signal", tt.name)
			if r.Level != "INFO" || !strings.Contains(r.Msg, "handling signal") {
				t.Errorf(`want "handling signal" at level info, got %v`, r)
			}
			tt.does(s, m)
		})
	}
}

func (s *server) stopping(m mark, quick bool) {
	s.t.Helper()
	s.awaitSince(m, "server.stopping", "quick", quick)
	s.ends(patience)
}

// Children end all the time; who wants to see each of these signals asks for it.
func TestSIGCHLDIsLoggedAtDebug(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello)
	pid := workerPIDs(s.ready())[0]
	m := s.mark()
	s.signal(syscall.SIGCHLD) // from outside, without a child that has ended
	kill(t, mustLookup(t, pid), syscall.SIGKILL)
	s.awaitSince(m, "worker.exited", "pid", pid)
	chld := s.journal.since(m, is("server.signal", "signal", "SIGCHLD"))
	if len(chld) == 0 {
		t.Error("no record of SIGCHLD at level debug")
	}
	for _, r := range chld {
		if r.Level != "DEBUG" {
			t.Errorf("want level debug, got %v", r)
		}
	}
}

func TestUSR1ReopensTheLogFile(t *testing.T) {
	t.Parallel()
	s := start(t, `
[log]
file = "@DIR/app.log"
format = "json"
[worker]
handler = "hello"
count = 1
stdout = "@DIR/worker.log"
`)
	s.awaitStatus("it serves", func(st control.Status) bool { return st.State == "running" })
	s.rename(s.path("app.log"), s.path("app.log.1"))
	s.signal(syscall.SIGUSR1)
	eventually(t, "the log is written to a new file", func() bool { return there(s.path("app.log")) })
	s.signal(syscall.SIGTTIN)
	eventually(t, "the new file is used", func() bool { return strings.Contains(tryRead(s.path("app.log")), "workers.scaled") })
	if strings.Contains(tryRead(s.path("app.log.1")), "workers.scaled") {
		t.Error("the old file is still written")
	}
	s.rename(s.path("app.log"), s.path("app.log.2"))
	s.must("reopen")
	eventually(t, "the command reopens it, too", func() bool { return there(s.path("app.log")) })
}

// A handler worker's standard output is its access log in Apache's format.
func TestUSR1ReopensTheAccessLog(t *testing.T) {
	t.Parallel()
	for stderr, file := range map[string]string{"@DIR/other.log": "other.log", "stdout": "access.log"} {
		s := start(t, `
[log]
access = "combined"
[worker]
handler = "hello"
count = 1
cwd = "/"
stdout = "@DIR/access.log"
stderr = "`+stderr+`"
`)
		s.ready()
		s.mustGet("/first")
		eventually(t, "the request is logged", func() bool { return strings.Contains(tryRead(s.path("access.log")), "GET /first ") })
		s.rename(s.path("access.log"), s.path("access.log.1"))
		if file != "access.log" {
			s.rename(s.path(file), s.path(file+".1"))
		}
		s.signal(syscall.SIGUSR1)
		eventually(t, "there are new files", func() bool { return there(s.path("access.log")) && there(s.path(file)) })
		s.mustGet("/second")
		eventually(t, "the new file is used", func() bool { return strings.Contains(tryRead(s.path("access.log")), "GET /second ") })
		if strings.Contains(tryRead(s.path("access.log.1")), "GET /second ") {
			t.Error("the old file is still written")
		}
		pid := workerPIDs(s.look())[0]
		if target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/2", pid)); target != s.path(file) {
			t.Errorf("standard error goes to %s, %v", target, err)
		}
	}
}

// The exit of a worker that nobody asked to end is judged by how it ended.
func TestExitsAreLoggedByWhatTheyMean(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		end    func(t *testing.T, p process)
		level  string
		fields []any
		hint   string
	}{
		{"code 0", signalled(syscall.SIGUSR1), "ERROR", []any{"code", 0}, ""},
		{"code 7", signalled(syscall.SIGUSR2), "ERROR", []any{"code", 7}, ""},
		{"SIGTERM", signalled(syscall.SIGTERM), "WARN", []any{"signal", "SIGTERM"}, ""},
		{"SIGQUIT", signalled(syscall.SIGQUIT), "WARN", []any{"signal", "SIGQUIT"}, ""},
		{"SIGSEGV", signalled(syscall.SIGSEGV), "ERROR", []any{"signal", "SIGSEGV"}, ""},
		{"SIGKILL", signalled(syscall.SIGKILL), "ERROR", []any{"signal", "SIGKILL"}, "perhaps out of memory?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, `
[worker]
command = ["sh", "-c", "trap 'exit 0' USR1; trap 'exit 7' USR2; while :; do sleep 0.05; done"]
count = 1
ready = "alive"
ready_after = "300ms"
`)
			pid := workerPIDs(s.ready())[0]
			m := s.mark()
			tt.end(t, mustLookup(t, pid))
			fields := append([]any{"pid", pid, "expected", false}, tt.fields...)
			r := s.awaitSince(m, "worker.exited", fields...)
			if r.Level != tt.level || r.text("reason") == "" || r.text("uptime") == "" {
				t.Errorf("want level %s, a reason and the uptime, got %v", tt.level, r)
			}
			if (tt.hint != "") != strings.Contains(r.Msg, "perhaps out of memory?") {
				t.Errorf("want the hint %q, got %v", tt.hint, r)
			}
		})
	}
}

func signalled(sig syscall.Signal) func(*testing.T, process) {
	return func(t *testing.T, p process) { t.Helper(); kill(t, p, sig) }
}

// What ends as it was asked to is no news: nothing at all above level info.
func TestExpectedExitIsSilent(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello)
	s.ready()
	s.signal(syscall.SIGTTOU)
	s.await("worker.exited", "expected", true, "code", 0)
	s.mustReload()
	s.stop(patience)
	for _, r := range s.journal.all(func(r record) bool { return slices.Contains([]string{"WARN", "ERROR"}, r.Level) }) {
		t.Errorf("an ordinary life has %v", r)
	}
}

// A slot whose workers die young waits longer each time, the others do not care.
func TestSlotBacksOffAlone(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
command = ["sleep", "1000"]
count = 2
ready = "alive"
ready_after = "20ms"
`)
	st := s.ready()
	steady := workerPIDs(st)[1]
	for i, want := range []time.Duration{0, time.Second, 2 * time.Second} {
		st = s.awaitStatus("slot 1 is ready", func(st control.Status) bool { return st.Workers.Ready == 2 })
		m := s.mark()
		kill(t, mustLookup(t, workerPIDs(st)[0]), syscall.SIGKILL)
		exited := s.awaitSince(m, "worker.exited")
		if want > 0 {
			if r := s.awaitSince(m, "worker.backoff", "slot", 1, "failures", i+1); r.text("delay") != fmt.Sprint(want.Seconds()) {
				t.Errorf("want a delay of %s, got %v", want, r)
			}
			st = s.look()
			if w := st.Workers.List[0]; w.State != control.WorkerBackoff || w.NextRetryAt == nil || st.Workers.Ready != 1 {
				t.Errorf("slot 1 is %+v, want backoff with its time", w)
			}
		}
		started := s.awaitSince(m, "worker.started", "slot", 1)
		if waited := started.At.Sub(exited.At); waited < want-20*time.Millisecond || waited > want+slack {
			t.Errorf("restart %d came after %s, want %s", i+1, waited, want)
		}
	}
	if now := s.look(); workerPIDs(now)[1] != steady {
		t.Errorf("slot 2 has pid %d, want %d untouched", workerPIDs(now)[1], steady)
	}
}
