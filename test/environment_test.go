//go:build linux

package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// given returns the variables that a child has and gofork's caller did not give.
func given(t *testing.T, s *server, pid int) map[string]string {
	t.Helper()
	var env map[string]string
	// Ready by the clock, it may still be on its way from gofork to the program.
	eventually(t, fmt.Sprintf("process %d is the program", pid), func() bool {
		env = environ(pid)
		_, onItsWay := env["GOFORK_SHIM"]
		return !onItsWay
	})
	for _, kv := range s.cmd.Env {
		key, value, _ := strings.Cut(kv, "=")
		if env[key] == value {
			delete(env, key)
		}
	}
	return env
}

func keys(env map[string]string) []string {
	var all []string
	for key := range env {
		all = append(all, key)
	}
	slices.Sort(all)
	return all
}

func TestWorkerEnvironment(t *testing.T) {
	t.Parallel()
	s := start(t, `
[server]
bind = ["@ADDR", "unix:@DIR/web.sock"]
env = { FROM_SERVER = "1", BOTH = "server" }
[worker]
command = ["sleep", "1000"]
count = 2
ready = "alive"
ready_after = "50ms"
timeout = "20s"
env = { FROM_WORKER = "${E2E_GIVEN}", BOTH = "worker" }
`, withEnv("E2E_GIVEN=a value"))
	for _, w := range s.ready().Workers.List {
		env := given(t, s, w.PID)
		want := map[string]string{
			"LISTEN_FDS": "2", "LISTEN_PID": fmt.Sprint(w.PID),
			"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": fmt.Sprint(w.PID),
			"GOFORK_WORKER_SLOT": fmt.Sprint(w.Slot), "GOFORK_GENERATION": "1", "GOFORK_PID": fmt.Sprint(s.pid()),
			"FROM_SERVER": "1", "FROM_WORKER": "a value", "BOTH": "worker",
		}
		for key, value := range want {
			if env[key] != value {
				t.Errorf("slot %d has %s=%q, want %q", w.Slot, key, env[key], value)
			}
		}
		if names := strings.Split(env["LISTEN_FDNAMES"], ":"); len(names) != 2 {
			t.Errorf("slot %d has LISTEN_FDNAMES=%q, want two names", w.Slot, env["LISTEN_FDNAMES"])
		}
		if env["NOTIFY_SOCKET"] == "" {
			t.Errorf("slot %d has no NOTIFY_SOCKET", w.Slot)
		}
		for _, key := range keys(env) {
			if _, ok := want[key]; !ok && key != "LISTEN_FDNAMES" && key != "NOTIFY_SOCKET" {
				t.Errorf("slot %d has %s=%q, which is none of its business", w.Slot, key, env[key])
			}
		}
		open := settledDescriptors(t, w.PID)
		for fd, target := range open {
			isSocket := strings.HasPrefix(target, "socket:")
			if (fd == 3 || fd == 4) != isSocket || fd > 4 {
				t.Errorf("slot %d has descriptor %d open on %s; want 0 to 2 and the sockets 3 and 4", w.Slot, fd, target)
			}
		}
		if len(open) != 5 {
			t.Errorf("slot %d has descriptors %v open, want 0 to 4", w.Slot, open)
		}
	}
}

func TestCompanionEnvironment(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[companion.plain]
command = ["sleep", "1000"]
numprocs = 2
startsecs = "0s"
env = { MINE = "yes" }
`)
	for _, c := range s.ready().Companions {
		env := given(t, s, c.PID)
		want := map[string]string{
			"GOFORK_COMPANION": "plain", "GOFORK_INSTANCE": fmt.Sprint(c.Instance),
			"GOFORK_PID": fmt.Sprint(s.pid()), "MINE": "yes",
		}
		for key, value := range want {
			if env[key] != value {
				t.Errorf("%s has %s=%q, want %q", c.ID(), key, env[key], value)
			}
		}
		if env["NOTIFY_SOCKET"] == "" {
			t.Errorf("%s has no NOTIFY_SOCKET", c.ID())
		}
		for _, key := range keys(env) {
			if _, ok := want[key]; !ok && key != "NOTIFY_SOCKET" {
				t.Errorf("%s has %s=%q, which is none of its business", c.ID(), key, env[key])
			}
		}
		for fd, target := range settledDescriptors(t, c.PID) {
			if fd > 2 || strings.HasPrefix(target, "socket:") {
				t.Errorf("%s has descriptor %d open on %s; want 0 to 2 and no socket", c.ID(), fd, target)
			}
		}
	}
}

// A child that blocked or ignored SIGTERM because gofork or its caller does
// could not be stopped.
func TestChildrenStartWithDefaultSignalsInAGroupOfTheirOwn(t *testing.T) {
	t.Parallel()
	const sleep = `command = ["sleep", "1000"]`
	config := "[worker]\n" + sleep + `
count = 1
ready = "alive"
ready_after = "50ms"
[companion.plain]
startsecs = "0s"
` + sleep
	// The caller ignores what nohup(1) and a shell's background job ignore.
	s := start(t, config, withWrapper("sh", "-c", `trap "" HUP QUIT USR1 PIPE; exec "$@"`, "sh"))
	st := s.ready()
	pids := map[string]int{"worker": workerPIDs(st)[0], "companion": companion(t, st, "plain").PID}
	for who, pid := range pids {
		for _, key := range []string{"SigBlk", "SigIgn", "SigCgt"} {
			if mask := statusLine(pid, key); strings.Trim(mask, "0") != "" {
				t.Errorf("the %s has %s %s, want none", who, key, mask)
			}
		}
		if p := mustLookup(t, pid); p.PGID != p.PID {
			t.Errorf("the %s %v does not lead a process group", who, p)
		}
	}
}

// Handlers and targets run in gofork's own binary; they get no more than a
// command would.
func TestCompiledInCompanionHasNoSockets(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[companion.ticker]
target = "ticker"
options = { interval = "50ms" }
startsecs = "0s"
`)
	s.ready()
	c := s.awaitCompanion("ticker", control.Running)
	env := environ(c.PID)
	for key := range env {
		if strings.HasPrefix(key, "LISTEN_") {
			t.Errorf("the companion has %s=%q", key, env[key])
		}
	}
	if env["GOFORK_COMPANION"] != "ticker" || env["GOFORK_PID"] != fmt.Sprint(s.pid()) {
		t.Errorf("the companion has GOFORK_COMPANION=%q GOFORK_PID=%q", env["GOFORK_COMPANION"], env["GOFORK_PID"])
	}
	web := descriptors(t, workerPIDs(s.status())[0])[3]
	for fd, target := range settledDescriptors(t, c.PID) {
		if target == web {
			t.Errorf("the companion has the web socket %s open as descriptor %d", web, fd)
		}
	}
}
