package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/control"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what the commands print into testdata")

// TestCommands runs the command lines of testdata/*.txtar and compares exit code,
// standard output and standard error. A file holds, for each command line, a section
// of that name with the three together; "broken" and "well" are the two gofork that
// answer.
func TestCommands(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			well := strings.Contains(string(archive.Comment), "well")
			for i, f := range archive.Files {
				backend := newFake()
				if well {
					backend = backend.well()
				}
				socket := startFake(t, backend)
				code, stdout, stderr := gofork(t, []string{"GOFORK_SOCKET=" + socket}, words(f.Name)...)
				got := fmt.Sprintf("exit %d\n%s", code, stdout)
				if stderr != "" {
					got += "stderr:\n" + stderr
				}
				got = strings.ReplaceAll(got, socket, "SOCKET")
				if *update {
					archive.Files[i].Data = []byte(got)
					continue
				}
				if diff := cmp.Diff(string(f.Data), got); diff != "" {
					t.Errorf("gofork %s (-want +got):\n%s", f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func words(line string) []string {
	if line == "(nothing)" {
		return nil
	}
	return strings.Fields(line)
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
			code, _, stderr := gofork(t, nil, append([]string{"-s", startFake(t, f)}, words(tt.line)...)...)
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
