package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/worker"
	"github.com/google/go-cmp/cmp"
)

const good = `
[server]
bind = ["127.0.0.1:0"]
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
		"stop budget  71s (companion rq-default: stop_timeout 1m + manager.shutdown_buffer 10s)\n",
		"kubernetes   terminationGracePeriodSeconds: 71\n",
		"COMPANION   INSTANCES  STOP TIMEOUT  HASH\n",
		"rq-default  3          1m            ",
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
	if !f.OK || f.StopBudget != 71 || f.CauseCompanion != "rq-default" || f.Workers != 2 || len(f.Companions) != 2 || len(f.Companions[0].Hash) != 12 ||
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
		{"companions slower than workers", worker + strings.Replace(companion, "2s", "25s", 1), "companion a: stop_timeout 25s + manager.shutdown_buffer 10s"},
		{"companions alone", strings.Replace(companion, "2s", "1h", 1), "companion a: stop_timeout 1h + manager.shutdown_buffer 10s"},
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

// The keys of the JSON are an interface: they come, and never go.
func TestCheckInJSONHasEveryKeyAlways(t *testing.T) {
	keys := func(text string) []string {
		_, stdout, _ := checked(t, text, "--json")
		var f map[string]any
		if err := json.Unmarshal([]byte(stdout), &f); err != nil {
			t.Fatalf("%v: %s", err, stdout)
		}
		for name, v := range f {
			if v == nil {
				t.Errorf("%s is null", name)
			}
		}
		return slices.Sorted(maps.Keys(f))
	}
	want := []string{"companions", "ok", "problems", "stop_budget_cause", "stop_budget_companion", "stop_budget_seconds", "warnings", "workers"}
	for _, text := range []string{good, "nonsense", "[companion.a]\ncommand = \"true\"\n"} {
		if diff := cmp.Diff(want, keys(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestCheckWarnsOfAddressesOfOthers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	unix := filepath.Join(t.TempDir(), "app.sock")
	other, err := net.Listen("unix", unix)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	f := newFake()
	socket := filepath.Join(t.TempDir(), "control.sock")
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	text := fmt.Sprintf("[server]\nbind = [%q, \":%s\", \"localhost:0\", \"fd:9\", \"unix:%s\"]\n[worker]\ncommand = \"/bin/sh\"\n[control]\nsocket = %q\n",
		ln.Addr().String(), port, unix, socket)
	_, _, stderr := checked(t, text)
	want := fmt.Sprintf("app.toml: warning: server.bind: cannot listen on %s: in use by another program\n"+
		"app.toml: warning: server.bind: cannot listen on :%s: in use by another program\n"+
		"app.toml: warning: server.bind: cannot listen on unix:%s: in use by another program\n", ln.Addr(), port, unix)
	if stderr != want {
		t.Errorf("warnings\n%swant\n%s", stderr, want)
	}
	// What the gofork of this file listens on is its own.
	_, port, _ = net.SplitHostPort(admin.Addr().String())
	text += fmt.Sprintf("[admin]\nbind = \"127.0.0.1:%s\"\n", port)
	if _, _, stderr := checked(t, text); !strings.Contains(stderr, "admin.bind: cannot listen on 127.0.0.1:"+port+": in use by another program\n") {
		t.Errorf("warnings\n%s", stderr)
	}
	f.admin = ":" + port
	f.status.Listeners = []string{"tcp://" + ln.Addr().String(), "unix://" + unix}
	serveFake(t, f, socket)
	if code, _, stderr := checked(t, text); code != ExitOK || stderr != "" {
		t.Errorf("exit code %d, warnings\n%s", code, stderr)
	}
}

func TestCheckWarnsOfFilesThatCannotBeWritten(t *testing.T) {
	_, _, stderr := checked(t, `
[server]
bind = ["127.0.0.1:0"]
pidfile = "DIR/none/app.pid"
[worker]
handler = "hello"
count = 1
[worker.http]
tls_cert = "DIR/notes.txt"
tls_key = "DIR/key.pem"
[companion.a]
command = "/bin/sh"
stdout = "DIR/none/a.log"
stderr = "DIR/a.err"
[log]
file = "DIR/none/app.log"
`)
	want := `app.toml: warning: companion.a.stdout: cannot write none/a.log: the folder none: no such file or directory
app.toml: warning: log.file: cannot write none/app.log: the folder none: no such file or directory
app.toml: warning: server.pidfile: cannot write none/app.pid: the folder none: no such file or directory
app.toml: warning: worker.http.tls_key: cannot read key.pem: no such file or directory
`
	if stderr != want {
		t.Errorf("warnings\n%swant\n%s", stderr, want)
	}
}

func TestCheckRefusesASocketThatIsTooLong(t *testing.T) {
	code, _, stderr := checked(t, "[companion.a]\ncommand = \"/bin/sh\"\n[control]\nsocket = \"/tmp/"+strings.Repeat("x", 120)+"\"\n")
	if code != ExitUsage || !strings.Contains(stderr, "app.toml:4: control.socket: ") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestOptionsOfAHandlerAreCheckedBeforeItRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.toml")
	write(t, path, "[worker]\nhandler = \"static\"\noptions = { rot = \"/srv\" }\n")
	app := App{Handlers: worker.Stock(), HandlerOptions: worker.ValidateOptions}
	for _, command := range []string{"check", "config show --offline"} {
		var out, errs bytes.Buffer
		args := append(strings.Fields(command), "-c", path)
		code := app.Run(t.Context(), args, Stdio{In: strings.NewReader(""), Out: &out, Err: &errs})
		if code != ExitUsage || !strings.Contains(errs.String(), "app.toml:3: worker.options: ") || !strings.Contains(errs.String(), "rot") {
			t.Errorf("%s: exit code %d: %s", command, code, &errs)
		}
	}
	// A program's own handler of that name has options of its own.
	app = App{Handlers: map[string]worker.Factory{"static": worker.Hello}}
	var out, errs bytes.Buffer
	if code := app.Run(t.Context(), []string{"check", "-c", path}, Stdio{In: strings.NewReader(""), Out: &out, Err: &errs}); code != ExitOK {
		t.Errorf("exit code %d: %s", code, &errs)
	}
}
