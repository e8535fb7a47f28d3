package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

const good = `
[server]
graceful_timeout = "30s"
[worker]
command = ["/bin/sh", "-c", "exit"]
count = 2
[companion.rq-default]
command = ["gofork-test-no-such-program"]
numprocs = 3
stop_timeout = "60s"
[companion.scheduler]
command = ["./notes.txt"]
cwd = "DIR"
stop_timeout = "5s"
`

func checked(t *testing.T, text string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "app.toml")
	write(t, filepath.Join(dir, "notes.txt"), "")
	write(t, path, strings.ReplaceAll(text, "DIR", dir))
	code, stdout, stderr = gofork(t, []string{"PATH=/bin:/usr/bin"}, append([]string{"check", "-c", path}, args...)...)
	return code, strings.ReplaceAll(stdout, dir+"/", ""), strings.ReplaceAll(stderr, dir+"/", "")
}

func TestCheckShowsTheBudgetAndWhoCausesIt(t *testing.T) {
	code, stdout, _ := checked(t, good, "--platform", "kubernetes")
	if code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		"app.toml: ok\n",
		"workers      2\n",
		"stop budget  71s (companion rq-default: stop_timeout 1m0s + manager.shutdown_buffer 10s)\n",
		"kubernetes   terminationGracePeriodSeconds: 71\n",
		"COMPANION   INSTANCES  STOP TIMEOUT  HASH\n",
		"rq-default  3          1m0s          ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

func TestCheckWarnsOfProgramsThatCannotBeRun(t *testing.T) {
	code, _, stderr := checked(t, good)
	want := `app.toml: warning: companion.rq-default.command: cannot run "gofork-test-no-such-program": it is not in PATH
app.toml: warning: companion.scheduler.command: cannot run "./notes.txt": it is not executable
`
	if code != ExitOK || stderr != want {
		t.Errorf("exit code %d, warnings\n%swant\n%s", code, stderr, want)
	}
}

func TestCheckSetsThePlatformsGrace(t *testing.T) {
	for platform, want := range map[string]string{
		"docker":     "docker run --stop-timeout 71",
		"kubernetes": "terminationGracePeriodSeconds: 71",
		"systemd":    "TimeoutStopSec=71",
	} {
		if _, stdout, _ := checked(t, good, "--platform", platform); !strings.Contains(stdout, want+"\n") {
			t.Errorf("%s: no %q in\n%s", platform, want, stdout)
		}
	}
}

func TestCheckReportsEveryError(t *testing.T) {
	const bad = "[worker]\ncommand = [\"x\"]\ncount = -1\n[companion.a]\ncomand = [\"x\"]\n"
	code, stdout, stderr := checked(t, bad)
	if code != ExitUsage || stdout != "" {
		t.Errorf("exit code %d, prints %q", code, stdout)
	}
	for _, want := range []string{"app.toml:3: worker.count", "app.toml:5: companion.a.comand", `did you mean "command"?`} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in\n%s", want, stderr)
		}
	}
	code, stdout, stderr = checked(t, bad, "--json")
	var f finding
	if err := json.Unmarshal([]byte(stdout), &f); err != nil || code != ExitUsage || stderr != "" {
		t.Fatalf("exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if f.OK || len(f.Problems) < 2 || f.Problems[0].Line != 3 {
		t.Errorf("found %+v", f)
	}
}

func TestCheckInJSON(t *testing.T) {
	code, stdout, _ := checked(t, good, "--json", "--platform", "systemd")
	var f finding
	if err := json.Unmarshal([]byte(stdout), &f); err != nil || code != ExitOK {
		t.Fatalf("exit code %d, %v: %s", code, err, stdout)
	}
	if !f.OK || f.StopBudget != 71 || f.Workers != 2 || len(f.Companions) != 2 || len(f.Companions[0].Hash) != 12 ||
		f.Platform == nil || f.Platform.Setting != "TimeoutStopSec=71" || len(f.Warnings) != 2 {
		t.Errorf("found %+v", f)
	}
}

func TestBudgetCause(t *testing.T) {
	const worker = "[worker]\ncommand = [\"/bin/true\"]\n"
	const companion = "[companion.a]\ncommand = [\"/bin/true\"]\nstop_timeout = \"2s\"\n"
	for _, tt := range []struct{ name, text, cause string }{
		{"workers alone", worker, "server.graceful_timeout 30s"},
		{"workers slower than companions", worker + companion, "server.graceful_timeout 30s"},
		{"companions alone", companion, "companion a: stop_timeout 2s + manager.shutdown_buffer 10s"},
		{"a window of the manager's own", companion + "[manager]\nstop_timeout = \"99s\"\n", "manager.stop_timeout 1m39s"},
		{"a delay before", worker + "[server]\nshutdown_delay = \"5s\"\n", "server.graceful_timeout 30s, server.shutdown_delay 5s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, stdout, stderr := checked(t, tt.text, "--json")
			var f finding
			if err := json.Unmarshal([]byte(stdout), &f); err != nil {
				t.Fatalf("%v: %s%s", err, stdout, stderr)
			}
			if f.Cause != tt.cause {
				t.Errorf("cause %q, want %q", f.Cause, tt.cause)
			}
		})
	}
}
