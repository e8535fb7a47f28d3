//go:build linux

package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// given returns the variables that a child has and gofork's caller did not give.
func given(t *testing.T, s *server, pid int) map[string]string {
	t.Helper()
	env := environ(pid)
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

// A handler worker is a program like any other.
func TestHandlerEnvironment(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello)
	for _, w := range s.ready().Workers.List {
		env := environ(w.PID)
		for key, value := range map[string]string{
			"LISTEN_FDS": "1", "LISTEN_PID": fmt.Sprint(w.PID), "WATCHDOG_PID": fmt.Sprint(w.PID), "WATCHDOG_USEC": "30000000",
			"GOFORK_WORKER_SLOT": fmt.Sprint(w.Slot), "GOFORK_GENERATION": "1", "GOFORK_PID": fmt.Sprint(s.pid()),
		} {
			if env[key] != value {
				t.Errorf("slot %d has %s=%q, want %q", w.Slot, key, env[key], value)
			}
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

// systemd puts what LoadCredential= names into files of the directory that
// $CREDENTIALS_DIRECTORY names (systemd.exec(5), "Credentials"): read-only, of the
// service's user alone. Only who is to have a secret gets it, and it is shown nowhere.
func TestSecretFromSystemdsCredentials(t *testing.T) {
	t.Parallel()
	const secret = "correct horse battery staple"
	const config = `
[worker]
handler = "hello"
count = 1
[companion.mailer]
command = ["sleep", "1000"]
env_file = ["${CREDENTIALS_DIRECTORY}/app.env"]
startsecs = "0s"
[companion.other]
command = ["sleep", "1000"]
startsecs = "0s"
`
	dir := shortTempDir(t)
	credential := filepath.Join(dir, "app.env")
	give := func(value string) {
		t.Helper()
		if err := os.Remove(credential); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(credential, []byte("SMTP_PASSWORD='"+value+"'\n"), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	give(secret)
	s := start(t, config, withEnv("CREDENTIALS_DIRECTORY="+dir))
	st := s.ready()
	if got := given(t, s, companion(t, st, "mailer").PID)["SMTP_PASSWORD"]; got != secret {
		t.Errorf("the mailer has SMTP_PASSWORD=%q", got)
	}
	for who, pid := range map[string]int{"worker": workerPIDs(st)[0], "companion other": companion(t, st, "other").PID, "gofork": s.pid()} {
		if _, ok := environ(pid)["SMTP_PASSWORD"]; ok {
			t.Errorf("%s has the mailer's secret", who)
		}
	}

	const next = "another pony"
	give(next) // rotated
	shown := s.must("reload", "--dry-run")
	if !strings.Contains(shown, "env.SMTP_PASSWORD") {
		t.Errorf("a reload would change\n%s", shown)
	}
	shown += s.must("reload") + s.must("config", "show") + s.must("config", "show", "--json") + s.must("status", "--json")
	mailer := s.awaitCompanion("mailer", control.Running)
	if got := given(t, s, mailer.PID)["SMTP_PASSWORD"]; got != next {
		t.Errorf("after the reload the mailer has SMTP_PASSWORD=%q", got)
	}
	give("'" + next) // an open quote
	if r := s.run("reload"); r.code != 1 || !strings.Contains(r.stderr, "app.env") {
		t.Errorf("a reload with a broken file: exit code %d, %s", r.code, r.stderr)
	} else {
		shown += r.stdout + r.stderr
	}
	s.stop(patience)
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	shown += fmt.Sprint(s.journal.records, s.journal.lines)
	for _, value := range []string{secret, next} {
		if strings.Contains(shown, value) {
			t.Errorf("the secret is shown somewhere:\n%s", shown)
		}
	}
}
