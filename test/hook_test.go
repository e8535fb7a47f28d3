//go:build linux

package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// hooked is what one run of a hook was told.
type hooked map[string]string

// ran returns the runs of a hook whose command writes into FILE.
func (s *server) ran(file string) []hooked {
	var runs []hooked
	for line := range strings.Lines(tryRead(s.path(file))) {
		h := hooked{}
		for _, kv := range strings.Fields(line) {
			key, value, _ := strings.Cut(kv, "=")
			h[key] = value
		}
		runs = append(runs, h)
	}
	return runs
}

func (s *server) awaitHook(name string, want hooked) {
	s.t.Helper()
	want["GOFORK_HOOK"] = name
	if _, ok := want["GOFORK_PID"]; !ok {
		want["GOFORK_PID"] = fmt.Sprint(s.pid())
	}
	eventually(s.t, fmt.Sprintf("hook %s ran with %v; it ran with %v", name, want, s.ran(name)), func() bool {
		return slices.ContainsFunc(s.ran(name), func(h hooked) bool {
			for key, value := range want {
				if h[key] != value {
					return false
				}
			}
			return true
		})
	})
}

func TestEveryHookRunsAndIsToldWhatItIsAbout(t *testing.T) {
	t.Parallel()
	config := `
[worker]
command = ["@TEST", "http"]
count = 1
ready = "notify"
[companion.quits]
command = ["@TEST", "exit", "6"]
startretries = 1
backoff_initial = "10ms"
[hooks]
`
	for _, name := range []string{
		"on_starting", "when_ready", "on_reload", "pre_fork", "post_fork", "child_exit",
		"nworkers_changed", "pre_exec", "on_exit", "companion_exit", "companion_fatal",
	} {
		config += fmt.Sprintf("%s = [\"@TEST\", \"hook\", \"@DIR/%s\"]\n", name, name)
	}
	s := start(t, config)
	s.await("server.ready")
	st := s.awaitStatus("the worker is ready", func(st control.Status) bool { return st.Workers.Ready == 1 })
	pid := fmt.Sprint(workerPIDs(st)[0])

	s.awaitHook("on_starting", hooked{})
	s.awaitHook("pre_fork", hooked{"GOFORK_WORKER_SLOT": "1"})
	s.awaitHook("post_fork", hooked{"GOFORK_WORKER_SLOT": "1", "GOFORK_WORKER_PID": pid})
	s.awaitHook("when_ready", hooked{})
	s.awaitHook("companion_exit", hooked{"GOFORK_COMPANION": "quits"})
	s.awaitHook("companion_fatal", hooked{"GOFORK_COMPANION": "quits"})

	s.signal(syscall.SIGTTIN)
	s.awaitHook("nworkers_changed", hooked{"GOFORK_WORKERS_OLD": "1", "GOFORK_WORKERS_NEW": "2"})
	kill(t, mustLookup(t, workerPIDs(st)[0]), syscall.SIGKILL)
	s.awaitHook("child_exit", hooked{"GOFORK_WORKER_SLOT": "1", "GOFORK_WORKER_PID": pid, "GOFORK_WORKER_EXIT_SIGNAL": "SIGKILL"})
	s.awaitStatus("both are ready", func(st control.Status) bool { return st.Workers.Ready == 2 })
	m := s.mark()
	s.mustReload()
	s.awaitHook("on_reload", hooked{})
	ended := s.awaitSince(m, "worker.exited", "code", 0)
	s.awaitHook("child_exit", hooked{"GOFORK_WORKER_PID": ended.text("pid"), "GOFORK_WORKER_EXIT_CODE": "0"})

	n := s.upgrade()
	s.awaitHook("pre_exec", hooked{})
	n.end()
	s.awaitHook("on_exit", hooked{"GOFORK_PID": fmt.Sprint(n.PID)})
	s.stop(patience)
	s.awaitHook("on_exit", hooked{})
	for _, r := range s.journal.all(is("hook.failed")) {
		t.Errorf("%v", r)
	}
}

func TestFailedStartingHookStopsTheStart(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[hooks]
on_starting = ["@TEST", "hook", "@DIR/hook", "5"]
`)
	if code := s.exit(patience); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if r := s.await("hook.failed"); r.text("hook") != "on_starting" || !strings.Contains(r.text("reason"), "5") {
		t.Errorf("want the hook and its exit code, got %v", r)
	}
	for _, event := range []string{"server.listening", "worker.started"} {
		if n := len(s.journal.all(is(event))); n != 0 {
			t.Errorf("%d × %s after on_starting has failed", n, event)
		}
	}
}

func TestFailedUpgradeHookStopsTheUpgrade(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[hooks]
pre_exec = ["@TEST", "hook", "@DIR/hook", "5"]
`)
	before := s.ready()
	s.signal(syscall.SIGUSR2)
	s.await("hook.failed", "hook", "pre_exec")
	r := s.await("upgrade.failed")
	if !strings.Contains(r.text("reason"), "pre_exec") {
		t.Errorf("want a reason that names pre_exec, got %v", r)
	}
	if n := len(s.journal.all(is("server.starting"))); n != 1 {
		t.Errorf("%d arbiters were started, want this one alone", n)
	}
	after := s.look()
	if after.State != "running" || fmt.Sprint(workerPIDs(after)) != fmt.Sprint(workerPIDs(before)) {
		t.Errorf("status is %+v, want it as before", after)
	}
}

// What a hook does beside the server must not be able to harm it.
func TestOtherHooksThatFailAreLogged(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[hooks]
timeout = "2s"
when_ready = ["sleep", "1000"]
pre_fork = ["/no/such/program"]
post_fork = ["sh", "-c", "exit 5"]
nworkers_changed = ["sh", "-c", "kill -9 $$"]
`)
	s.ready()
	s.signal(syscall.SIGTTOU)
	for hook, reason := range map[string]string{
		"when_ready": "hooks.timeout", "pre_fork": "no such file", "post_fork": "code 5", "nworkers_changed": "SIGKILL",
	} {
		if r := s.await("hook.failed", "hook", hook); r.Level != "ERROR" || !strings.Contains(r.text("reason"), reason) {
			t.Errorf("want an error with %q, got %v", reason, r)
		}
	}
	s.mustGet("/")
}

func TestStopEndsOnStarting(t *testing.T) {
	t.Parallel()
	s := start(t, "[hooks]\ntimeout = \"1000s\"\non_starting = [\"sh\", \"-c\", \"touch @DIR/runs; exec sleep 1000\"]\n"+twoHello)
	eventually(t, "on_starting runs", func() bool { _, err := os.Stat(s.path("runs")); return err == nil })
	s.signal(syscall.SIGTERM)
	if code := s.exit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	s.await("server.stopping", "by", "SIGTERM")
	s.await("server.stopped", "code", 0)
	if len(s.journal.all(is("worker.started"))) > 0 || len(s.journal.all(is("hook.failed"))) > 0 {
		t.Error("a worker was started, or the hook is said to have failed")
	}
}

// Who asks is told so, and a liveness probe does not restart what migrates a database.
func TestStatusWhileOnStartingRuns(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[hooks]
timeout = "1000s"
on_starting = ["sh", "-c", "touch @DIR/runs; until test -e @DIR/go; do sleep 0.05; done"]
[companion.beside]
command = ["sleep", "1000"]
startsecs = "0s"
`)
	eventually(t, "on_starting runs", func() bool { _, err := os.Stat(s.path("runs")); return err == nil })
	st := s.status()
	if c := companion(t, st, "beside"); st.State != "starting" || st.PID != s.pid() || st.Generation != 1 || c.State != control.Stopped || c.Desired != control.Up {
		t.Errorf("the status is %+v", st)
	}
	c := control.Dial(s.sock)
	defer c.Close()
	if text, err := c.Probe(t.Context(), "/livez"); err != nil || text != "ok" {
		t.Errorf("/livez says %q, %v", text, err)
	}
	if text, err := c.Probe(t.Context(), "/readyz"); err == nil || !strings.Contains(err.Error(), "gofork is starting") {
		t.Errorf("/readyz says %q, %v", text, err)
	}
	writeFile(t, s.path("go"), "")
	s.ready()
}

// Whoever looks in on_exit finds gofork gone.
func TestNamesAreGoneBeforeOnExit(t *testing.T) {
	t.Parallel()
	s := start(t, `
[server]
bind = ["unix:@DIR/web.sock"]
pidfile = "@DIR/pid"
runtime_dir = "@DIR/run"
[worker]
handler = "hello"
count = 1
[hooks]
on_exit = ["sh", "-c", "ls @DIR/run @DIR/pid @DIR/web.sock >@DIR/seen 2>&1; echo done >>@DIR/seen"]
`)
	s.ready()
	s.stop(patience)
	seen := readFile(t, s.path("seen"))
	for line := range strings.Lines(seen) {
		if line = strings.TrimSpace(line); line != "done" && !strings.Contains(line, "No such file") && line != s.path("run")+":" {
			t.Errorf("on_exit sees %q", line)
		}
	}
	if !strings.Contains(seen, "done") {
		t.Errorf("on_exit has left %q", seen)
	}
}

// finish sees that nothing is left.
func TestWhatHooksLeaveBehindEndsWithGofork(t *testing.T) {
	t.Parallel()
	for _, hook := range []string{"on_starting", "on_exit"} {
		for _, last := range []string{"exit 0", "exit 1"} {
			t.Run(hook+", "+last, func(t *testing.T) {
				t.Parallel()
				s := start(t, fmt.Sprintf("[hooks]\n%s = [\"sh\", \"-c\", \"sleep 1000 & setsid sleep 1000 & %s\"]\n", hook, last)+twoHello)
				if hook == "on_starting" && last == "exit 1" {
					if code := s.exit(patience); code != 1 {
						t.Errorf("exit code %d, want 1", code)
					}
					return
				}
				s.ready()
				s.stop(patience)
			})
		}
	}
}
