//go:build linux

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// The child itself tells what it was started with: a value that is set after
// the start would come too late for a program that reads it at its beginning.
func TestProcessKeysHoldFromTheChildsStart(t *testing.T) {
	t.Parallel()
	keys, identity := "", "id -u; id -g; "
	want := []string{"123", "0", "0027", "5", "700"}
	if os.Geteuid() == 0 {
		keys = "user = \"54003\"\ngroup = \"54004\"\n"
		want = append(want, "54003", "54004")
	} else {
		identity = ""
	}
	s := start(t, `
[companion.tells]
`+script("ulimit -Sn; ulimit -Sc; umask; nice; cat /proc/self/oom_score_adj; "+identity+"exec sleep 1000")+`
stdout = "@DIR/told"
startsecs = "0s"
rlimits = { nofile = "123:456", core = 0 }
umask = "027"
nice = 5
oom_score_adj = 700
`+keys)
	st := s.ready()
	s.awaitLines("told", len(want))
	if got := strings.Fields(readFile(t, s.path("told"))); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the child found %v, want %v", got, want)
	}
	limits := readFile(t, filepath.Join("/proc", strconv.Itoa(companion(t, st, "tells").PID), "limits"))
	_, openFiles, _ := strings.Cut(limits, "Max open files")
	if fields := strings.Fields(openFiles); len(fields) < 2 || fields[0] != "123" || fields[1] != "456" {
		t.Errorf("the limits of open files are %v, want 123 and 456", fields)
	}
}

// target is a program with companions of its own, each good for one thing.
const target = `package main

import (
	"context"
	"errors"

	"github.com/gofork/gofork/pkg/cli"
	"github.com/gofork/gofork/pkg/companion"
)

func main() {
	cli.App{Name: "targets", Companions: map[string]companion.Func{
		"panics": func(context.Context, companion.Target) error { panicky(); return nil },
		"fails":  func(context.Context, companion.Target) error { return errors.New("it broke") },
		"waits": func(ctx context.Context, t companion.Target) error {
			t.Logger.Info("waiting")
			<-ctx.Done()
			t.Logger.Info("asked to end")
			return ctx.Err()
		},
	}}.Main()
}

func panicky() { panic("oh no") }
`

func TestCompiledInFunctionsRunInProcessesOfTheirOwn(t *testing.T) {
	t.Parallel()
	dir := shortTempDir(t)
	source, program := filepath.Join(dir, "targets.go"), filepath.Join(dir, "targets")
	writeFile(t, source, target)
	if out, err := exec.Command("go", "build", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("cannot build the program: %v\n%s", err, out)
	}
	s := start(t, `
[companion_defaults]
autorestart = "never"
startsecs = "0s"
[companion.panics]
target = "panics"
[companion.fails]
target = "fails"
[companion.waits]
target = "waits"
stop_signal = "USR2"
`, withWrapper("sh", "-c", `shift; exec "$0" "$@"`, program))
	for _, name := range []string{"panics", "fails"} {
		exited := s.await("companion.exited", "companion", name)
		if exited.text("code") != "1" || exited.text("expected") != "false" {
			t.Errorf("want exit code 1, got %v", exited)
		}
	}
	if r := s.journal.await(t, 0, says("companion panicked"), "the panic"); r.text("panic") != "oh no" ||
		!strings.Contains(r.text("stack"), "main.panicky") || r.Level != "ERROR" {
		t.Errorf("want the panic and its stack, got %v", r)
	}
	s.journal.await(t, 0, says("it broke"), "the error")

	s.journal.await(t, 0, says("waiting"), "that it waits")
	c := s.awaitCompanion("waits", control.Running)
	if p := mustLookup(t, c.PID); p.PGID != p.PID || p.PPID != s.look().Manager.PID {
		t.Errorf("%v is not the manager's child in a group of its own", p)
	}
	s.must("companion", "stop", "waits")
	s.journal.await(t, 0, says("asked to end"), "the end of its context")
	if exited := s.await("companion.exited", "pid", c.PID); exited.text("code") != "0" || exited.text("expected") != "true" {
		t.Errorf("want exit code 0, got %v", exited)
	}
}
