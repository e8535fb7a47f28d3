package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/control"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what the commands print into testdata")

// TestSessions replays testdata/*.session: each command line after "$ gofork" must
// print what stands below it, standard output first, and end with that exit code.
// The gofork that answers has some trouble, but for well.session.
func TestSessions(t *testing.T) {
	files, err := filepath.Glob("testdata/*.session")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".session"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for line := range strings.Lines(string(want)) {
				if strings.HasPrefix(line, "#") {
					got.WriteString(line)
				}
				if command, ok := strings.CutPrefix(line, "$ gofork "); ok {
					got.WriteString("\n" + line + replay(t, file, strings.Fields(command)))
				}
			}
			if *update {
				err = os.WriteFile(file, []byte(got.String()), 0o644)
			}
			if diff := cmp.Diff(string(want), got.String()); !*update && diff != "" {
				t.Errorf("session (-want +got):\n%s", diff)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// replay runs one command line of a session against a gofork of its own.
func replay(t *testing.T, file string, args []string) string {
	f := newFake()
	if strings.HasSuffix(file, "well.session") {
		f = f.well()
	}
	socket := startFake(t, f)
	code, stdout, stderr := gofork(t, []string{"GOFORK_SOCKET=" + socket}, args...)
	if stderr != "" {
		stderr = "stderr:\n" + stderr
	}
	here := strings.NewReplacer(socket, "SOCKET", runtime.Version(), "GO", runtime.GOOS+"/"+runtime.GOARCH, "OS/ARCH")
	return here.Replace(fmt.Sprintf("%s%s[exit %d]\n", stdout, stderr, code))
}

func TestEveryActionAsksForWhatWasMeant(t *testing.T) {
	number := func(n int) *int { return &n }
	for _, tt := range []struct {
		line  string
		asked any
	}{
		{"stop", control.StopRequest{}},
		{"stop --quick", control.StopRequest{Quick: true}},
		{"reopen", "reopen"},
		{"scale 4", control.ScaleRequest{Workers: number(4)}},
		{"scale +1", control.ScaleRequest{Delta: number(1)}},
		{"scale -2 --json", control.ScaleRequest{Delta: number(-2)}},
		{"reload", control.ReloadRequest{}},
		{"reload --dry-run", control.ReloadRequest{DryRun: true}},
		{"companion reread --dry-run", control.ReloadRequest{DryRun: true, CompanionsOnly: true}},
		{"companion start scheduler", control.Action{Op: "start", Name: "scheduler", Wait: true}},
		{"companion stop scheduler:2 --no-wait", control.Action{Op: "stop", Name: "scheduler", Instance: 2}},
		{"companion restart rq-long", control.Action{Op: "restart", Name: "rq-long", Wait: true}},
		{"companion signal HUP rq-long", control.Action{Op: "signal", Name: "rq-long", Signal: "HUP", Wait: true}},
		{"logs -f -n 7 scheduler:2", []any{"scheduler:2", 7, true}},
		{"companion logs scheduler", []any{"scheduler", 100, false}},
	} {
		t.Run(tt.line, func(t *testing.T) {
			f := newFake()
			code, _, stderr := gofork(t, nil, append([]string{"-s", startFake(t, f)}, strings.Fields(tt.line)...)...)
			if code != ExitOK {
				t.Errorf("exit code %d: %s", code, stderr)
			}
			if diff := cmp.Diff([]any{tt.asked}, f.noted()); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestActionWithoutNamesConcernsEachCompanionOnce(t *testing.T) {
	f := newFake()
	if code, _, stderr := gofork(t, nil, "companion", "restart", "-s", startFake(t, f)); code != ExitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	names := map[string]int{}
	for _, a := range f.noted() {
		names[a.(control.Action).Target()]++
	}
	if diff := cmp.Diff(map[string]int{"rq-default": 1, "rq-long": 1, "scheduler": 1}, names); diff != "" {
		t.Errorf("restarted (-want +got):\n%s", diff)
	}
}

// Who waits has a connection of gofork's to itself. The stop windows of more
// companions than there are connections must not add up all the same.
func TestStopOfManyBeginsWithAllOfThem(t *testing.T) {
	f := newFake()
	args := []string{"companion", "stop", "-s", startFake(t, f)}
	const many = 100
	for range many {
		args = append(args, "rq-long")
	}
	if code, _, stderr := gofork(t, nil, args...); code != ExitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	asked := f.noted()
	if len(asked) != 2*many {
		t.Fatalf("asked %d times", len(asked))
	}
	for n, a := range asked {
		if wait := a.(control.Action).Wait; wait != (n >= many) {
			t.Fatalf("request %d waits: %v", n, wait)
		}
	}
}

func TestUnknownNameIsFoundBeforeAnythingIsDone(t *testing.T) {
	f := newFake()
	code, _, stderr := gofork(t, nil, "companion", "stop", "scheduler", "nobody", "-s", startFake(t, f))
	if code != ExitUnknown || !strings.Contains(stderr, `"nobody"`) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if asked := f.noted(); len(asked) != 0 {
		t.Errorf("asked %v", asked)
	}
}
