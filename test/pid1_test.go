//go:build linux

package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPID1ReapsAThousandOrphansAtOnce(t *testing.T) {
	t.Parallel()
	const orphans = 1000
	fifo := filepath.Join(shortTempDir(t), "fifo")
	if err := unix.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	// Each subshell ends at once and leaves a process that waits for the fifo to be
	// opened, and then for its end: they all end in the same moment.
	s := asPID1(t, `
[worker]
command = ["sh", "-c", "i=0; while [ $i -lt 1000 ]; do (read x < `+fifo+` &); i=$((i+1)); done; echo littered; exec sleep 1000"]
count = 1
ready_after = "0s"
`)
	s.await("server.ready")
	eventually(t, "the orphans were made", func() bool { return s.journal.printed("littered") })
	arbiter := s.first()
	adopted := func() []process {
		return slices.DeleteFunc(childrenOf(arbiter.PID), func(p process) bool { return p.Comm != "sh" })
	}
	eventually(t, "they have lost their parents", func() bool { return len(adopted()) == orphans })
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	eventually(t, "every one was reaped", func() bool { return len(adopted()) == 0 })
	eventually(t, "and counted", func() bool {
		return parseMetrics(t, getUnix(s.sock, "/metrics").body).value("gofork_orphans_reaped_total") == orphans
	})
	if n := len(s.journal.all(is("orphan.reaped"))); n > orphans/2 {
		t.Errorf("%d records for %d orphans", n, orphans)
	}
	if left := slices.DeleteFunc(processes(), func(p process) bool { return p.State != 'Z' || !descends(p, arbiter.PID) }); len(left) > 0 {
		t.Errorf("zombies: %v", left)
	}
	kill(t, arbiter, syscall.SIGTERM)
	if code := s.exit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestPID1ExitCodes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config string
		want   int
	}{
		"bad configuration":           {"[worker]\ncommand = [\"x\"]\nbind = 1\n", 2},
		"worker failed to boot":       {"[worker]\ncommand = [\"@TEST\", \"exit\", \"3\"]\ncount = 1\n", 3},
		"hook failed":                 {"[worker]\ncommand = [\"sleep\", \"9\"]\n[hooks]\non_starting = [\"false\"]\n", 1},
		"essential companion":         {"[companion.x]\ncommand = [\"sh\", \"-c\", \"exit 7\"]\nautorestart = \"never\"\nessential = true\n", 7},
		"essential companion, killed": {"[companion.x]\ncommand = [\"sh\", \"-c\", \"kill -9 $$\"]\nautorestart = \"never\"\nessential = true\n", 128 + 9},
		"essential companion, done":   {"[companion.x]\ncommand = [\"true\"]\nautorestart = \"never\"\nessential = true\n", 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := asPID1(t, c.config)
			if code := s.exit(patience); code != c.want {
				t.Errorf("exit code %d, want %d", code, c.want)
			}
		})
	}
}

// The kernel drops a signal that a process of the namespace sends to its first one
// when that has no handler for it.
func TestPID1TakesSignalsFromInside(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(shortTempDir(t), "fifo")
	if err := unix.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	s := asPID1(t, twoHello+`
[companion.sends]
command = ["sh", "-c", "while read sig; do kill -$sig 1; done < `+fifo+`"]
startsecs = "0s"
`)
	s.ready()
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, c := range []struct {
		signal, event string
		fields        []any
	}{
		{"HUP", "reload.done", []any{"generation", 2}},
		{"TTIN", "workers.scaled", []any{"new", 3}},
		{"TTOU", "workers.scaled", []any{"new", 2}},
		{"USR1", "server.signal", []any{"signal", "SIGUSR1"}},
		{"USR2", "upgrade.failed", nil}, // refused
		{"WINCH", "workers.scaled", []any{"new", 0}},
		{"HUP", "reload.done", []any{"generation", 3}}, // brings them back
		{"CHLD", "server.signal", []any{"signal", "SIGCHLD"}},
		{"TERM", "server.stopped", []any{"code", 0}},
	} {
		m := s.mark()
		if _, err := fmt.Fprintln(w, c.signal); err != nil {
			t.Fatal(err)
		}
		s.awaitSince(m, c.event, c.fields...)
	}
	if code := s.exit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// docker stop: SIGTERM, and SIGKILL when the time is over that `check` said.
func TestPID1StopsWithinItsBudget(t *testing.T) {
	t.Parallel()
	const stubborn = `command = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1000; done"]`
	s := asPID1(t, `
[server]
shutdown_delay = "1s"
graceful_timeout = "2s"
[worker]
count = 1
ready = "alive"
ready_after = "0s"
`+stubborn+`
[companion.stubborn]
startsecs = "0s"
stop_timeout = "2s"
`+stubborn+`
[manager]
shutdown_buffer = "8s"
`)
	s.ready()
	eventually(t, "both ignore SIGTERM", func() bool { return strings.Count(s.journal.String(), "deaf") >= 2 })
	said := runGofork(t, s.id, s.dir, "check", "-c", s.file, "--platform", "docker").stdout
	_, setting, _ := strings.Cut(said, "docker run --stop-timeout ")
	number, _, _ := strings.Cut(setting, "\n")
	grace, err := strconv.Atoi(number)
	if err != nil {
		t.Fatalf("no grace in:\n%s", said)
	}
	began := time.Now()
	kill(t, s.first(), syscall.SIGTERM)
	if code := s.exit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if took := time.Since(began); took > time.Duration(grace)*time.Second || took < 3*time.Second {
		t.Errorf("it took %s; want the windows, and %d s at most", took, grace)
	}
}

// readOnlyRoot leaves nothing that could be written but /proc.
const readOnlyRoot = `
while read -r _ _ _ _ at _; do
	case $at in /proc | /proc/*) ;; *) mount -o remount,bind,ro "$at" 2>/dev/null ;; esac
done < /proc/self/mountinfo
for d in / /tmp /var/tmp /dev/shm /run; do
	if [ -d "$d" ] && touch "$d/.written" 2>/dev/null; then echo "$d can be written" >&2; exit 91; fi
done
`

// hardened becomes a process like one of a container with a read-only root, an
// arbitrary user that no file knows, no capability, and no way to get one.
const hardened = `
mount --make-rprivate / || exit 90
` + readOnlyRoot + `
if touch "$(dirname "$0")/.written" 2>/dev/null; then echo "$(dirname "$0") can be written" >&2; exit 91; fi
exec setpriv --reuid 54321 --regid 54322 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
`

// inContainer starts gofork in one, as PID 1.
func inContainer(t *testing.T, config string, options ...option) *server {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "only root can become another user")
	}
	argv := []string{"unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", hardened, t.TempDir() + "/sh"}
	if out, err := exec.Command(argv[0], append(argv[1:], "true")...).CombinedOutput(); err != nil {
		skip(t, fmt.Sprintf("no read-only root can be made here: %v %s", err, out))
	}
	return start(t, config, append(options, inNamespace(argv...), withDir("/"), withEnv("TMPDIR=/tmp", "HOME=/nonexistent"))...)
}

func TestContainerWithNothingToWriteAndNoRights(t *testing.T) {
	t.Parallel()
	s := inContainer(t, twoHello+`
[companion.beside]
command = ["sleep", "1000"]
startsecs = "0s"
[log]
level = "info"
`)
	s.await("server.ready")
	s.await("companion.running")
	s.mustGet("/")
	// gofork status finds it by the path that could not be made.
	if st := s.status(); st.PID != 1 || st.Workers.Ready != 2 {
		t.Errorf("%+v", st)
	}
	if res := runGofork(t, s.id, s.dir, "status", "--check", "-c", s.file); res.code != 0 {
		t.Errorf("status --check: %+v", res)
	}
	arbiter := s.first()
	for _, p := range append(childrenOf(arbiter.PID), arbiter) {
		for key, want := range map[string]string{
			"Uid": "54321\t54321\t54321\t54321", "Gid": "54322\t54322\t54322\t54322", "Groups": "", "NoNewPrivs": "1",
			"CapEff": "0000000000000000", "CapBnd": "0000000000000000",
		} {
			if got := statusLine(p.PID, key); got != want {
				t.Errorf("%v has %s %q, want %q", p, key, got, want)
			}
		}
	}
	s.onlyTheSocketIsRemarkable()
	if res := s.run("companion", "restart", "beside"); res.code != 0 {
		t.Errorf("restart: %+v", res)
	}
	if res := s.run("reload"); res.code != 0 {
		t.Errorf("reload: %+v", res)
	}
	kill(t, s.first(), syscall.SIGTERM)
	if code := s.exit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// onlyTheSocketIsRemarkable looks for warnings.
func (s *server) onlyTheSocketIsRemarkable() {
	s.t.Helper()
	var said []string
	for _, r := range s.journal.all(func(r record) bool { return r.Level != "INFO" && r.Level != "DEBUG" }) {
		said = append(said, r.Line)
	}
	if len(said) != 1 || !strings.Contains(said[0], "abstract") {
		s.t.Errorf("warnings:\n%s\nwant one line about the control socket", strings.Join(said, "\n"))
	}
}

// Two of a pod, or of a host's network: they share the names of abstract sockets,
// and each is process 1 of what it sees.
func TestContainersOfOneNetworkHearTheirOwnWorkers(t *testing.T) {
	t.Parallel()
	config := `
name = "same"
[worker]
handler = "hello"
count = 1
ready = "notify"
boot_timeout = "20s"
[companion.beside]
command = ["sleep", "1000"]
startsecs = "0s"
[log]
level = "info"
`
	both := []*server{inContainer(t, config), inContainer(t, config)}
	for _, s := range both {
		s.await("server.ready")
		s.await("companion.running")
		s.onlyTheSocketIsRemarkable()
	}
	for _, s := range both {
		kill(t, s.first(), syscall.SIGTERM)
		if code := s.exit(patience); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	}
}

// What a container writes goes where its runtime has pointed the descriptors to:
// often nothing that the user of the container could open.
func TestOutputIsNotOpenedAgain(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		skip(t, "only root can become another user")
	}
	dir := t.TempDir()
	out, errs := filepath.Join(dir, "out"), filepath.Join(dir, "err")
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, twoHello+`
[companion.talks]
command = ["sh", "-c", "echo to out; echo to err >&2; exec sleep 1000"]
startsecs = "0s"
[companion.captured]
command = ["sh", "-c", "echo as a record; exec sleep 1000"]
stdout = "log"
startsecs = "0s"
`, withDir("/"), withEnv("TMPDIR=/tmp"), inNamespace("sh", "-c",
		`exec setpriv --reuid 54321 --regid 54321 --clear-groups "$@" >`+out+` 2>`+errs, "sh"))
	has := func(path, text string) func() bool {
		return func() bool { return strings.Contains(tryRead(path), text) }
	}
	eventually(t, "it is ready", has(errs, "server.ready"))
	eventually(t, "standard output is the file", has(out, "to out"))
	eventually(t, "standard error is the file", has(errs, "to err"))
	eventually(t, "captured lines are records", has(errs, "as a record"))
	s.mustGet("/")
	s.signal(syscall.SIGUSR1) // opens log files again: these are none
	s.stop(patience)
	if !strings.Contains(tryRead(errs), "server.stopped") {
		t.Error("the last record is missing")
	}
}
