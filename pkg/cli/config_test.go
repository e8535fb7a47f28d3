package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/worker"
)

const small = "[companion.a]\ncommand = \"/bin/sh\"\nenv = { TOKEN = \"hunter2\" }\n"

func TestConfigShowFallsBackToTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.toml")
	write(t, path, small+"[control]\nsocket = \""+filepath.Join(dir, "c.sock")+"\"\n")
	code, stdout, stderr := gofork(t, nil, "config", "show", "-c", path)
	if code != ExitOK || !strings.Contains(stderr, "no gofork answers") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if !strings.Contains(stdout, "[companion.a]\n") || strings.Contains(stdout, "hunter2") {
		t.Errorf("shows\n%s", stdout)
	}
	shown := filepath.Join(dir, "shown.toml")
	write(t, shown, stdout)
	if _, err := config.Load(config.Source{Path: shown}, config.Known{}); err != nil {
		t.Errorf("cannot be loaded: %v", err)
	}
	// A socket that was named is the one that is meant.
	if code, _, _ := gofork(t, nil, "config", "show", "-c", path, "-s", filepath.Join(dir, "other.sock")); code != ExitUnreachable {
		t.Errorf("exit code %d for a socket that nobody has", code)
	}
	serveFake(t, newFake(), filepath.Join(dir, "c.sock"))
	if code, stdout, stderr := gofork(t, nil, "config", "show", "-c", path); code != ExitOK || stderr != "" || strings.Contains(stdout, "[companion.a]") {
		t.Errorf("the running gofork was not asked: %d %s\n%s", code, stderr, stdout)
	}
	code, stdout, stderr = gofork(t, nil, "config", "show", "-c", path, "--offline", "--json")
	var tree map[string]any
	if err := json.Unmarshal([]byte(stdout), &tree); err != nil || code != ExitOK || stderr != "" || tree["companion"] == nil {
		t.Errorf("exit code %d, %v: %s\n%s", code, err, stderr, stdout)
	}
}

func TestConfigSchemaIsTheOneOfThePackage(t *testing.T) {
	if code, stdout, _ := gofork(t, nil, "config", "schema"); code != ExitOK || stdout != string(config.JSONSchema()) {
		t.Errorf("exit code %d: %s", code, stdout)
	}
}

func TestInitWritesWhatCheckAccepts(t *testing.T) {
	for name, app := range map[string]App{
		"stock": {Handlers: worker.Stock(), HandlerOptions: worker.ValidateOptions},
		"none":  {},
		"own":   {Name: "shop", Handlers: map[string]worker.Factory{"shop": worker.Hello}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			run := func(args ...string) (int, string, string) {
				var out, errs bytes.Buffer
				code := app.Run(t.Context(), args, Stdio{In: strings.NewReader(""), Out: &out, Err: &errs, Environ: []string{"PATH=/bin"}})
				return code, out.String(), errs.String()
			}
			code, stdout, stderr := run("init")
			if code != ExitOK || !strings.Contains(stdout, app.name()+" serve -c app.toml\n") || stderr != "" {
				t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
			}
			if code, _, stderr := run("check", "-c", "app.toml"); code != ExitOK {
				t.Errorf("exit code %d: %s", code, stderr)
			}
			written, err := os.ReadFile("app.toml")
			if err != nil || strings.Contains(string(written), "PROGRAM") || strings.Contains(string(written), "WORKER") {
				t.Errorf("%v\n%s", err, written)
			}
			if _, stdout, _ := run("init", "-"); stdout != string(written) {
				t.Errorf("standard output differs:\n%s", stdout)
			}
			// What is commented out is an example that holds, too.
			var all strings.Builder
			for line := range strings.Lines(string(written)) {
				if rest, ok := strings.CutPrefix(line, "# "); ok && (strings.HasPrefix(rest, "[") || strings.Contains(rest, " = ")) && !strings.Contains(rest, "env_file") {
					line = rest
				}
				all.WriteString(line)
			}
			write(t, "all.toml", all.String())
			if code, _, stderr := run("check", "-c", "all.toml"); code != ExitOK {
				t.Errorf("with its examples: exit code %d: %s", code, stderr)
			}
			write(t, "mine.toml", "mine")
			if code, _, stderr := run("init", "mine.toml"); code != ExitFailed || !strings.Contains(stderr, "is there already") {
				t.Errorf("exit code %d: %s", code, stderr)
			}
			if mine, _ := os.ReadFile("mine.toml"); string(mine) != "mine" {
				t.Errorf("overwrote a file: %s", mine)
			}
			if code, _, _ := run("init", "none/app.toml"); code != ExitFailed {
				t.Errorf("exit code %d for a folder that is not there", code)
			}
		})
	}
}

func TestImport(t *testing.T) {
	dir := t.TempDir()
	conf, more := filepath.Join(dir, "supervisord.conf"), filepath.Join(dir, "conf.d")
	write(t, conf, "[include]\nfiles = conf.d/*.conf\n[program:a]\ncommand = %(here)s/a\npriority = 1\n")
	if err := os.Mkdir(more, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(more, "b.conf"), "[program:b]\ncommand = b\n")
	code, stdout, stderr := gofork(t, nil, "import", "supervisord", conf)
	for _, want := range []string{"[companion.a]\n", "[companion.b]\n", `command = ["` + dir + `/a"]`} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %s in\n%s", want, stdout)
		}
	}
	if code != ExitOK || stderr != "gofork: 1 thing is not mapped: see the comment in the output\n" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	var out, errs bytes.Buffer
	code = App{}.Run(t.Context(), []string{"import", "procfile", "-"}, Stdio{In: strings.NewReader("work: work\n"), Out: &out, Err: &errs})
	if code != ExitOK || errs.Len() > 0 || !strings.Contains(out.String(), "[companion.work]\n") {
		t.Errorf("exit code %d: %s%s", code, &out, &errs)
	}
	for line, want := range map[string]int{
		"import procfile " + filepath.Join(dir, "none"):              ExitFailed,
		"import procfile " + more:                                    ExitFailed,
		"import supervisord " + filepath.Join(more, "b.conf") + " x": ExitUsage,
		"import supervisord":                                         ExitUsage,
		"import systemd x":                                           ExitUsage,
		"config show --offline":                                      ExitUsage,
		"config schema x":                                            ExitUsage,
		"init a b":                                                   ExitUsage,
		"config show --offline -c " + filepath.Join(dir, "none"):     ExitUsage,
	} {
		if code, stdout, stderr := gofork(t, nil, strings.Fields(line)...); code != want || stdout != "" || stderr == "" {
			t.Errorf("%s: exit code %d, want %d: %s%s", line, code, want, stdout, stderr)
		}
	}
}

func TestCompletionOffersCompanions(t *testing.T) {
	socket := startFake(t, newFake())
	for line, want := range map[string]string{
		"companion restart":         "rq-default\tBACKOFF\nrq-long\tSTOPPED\nscheduler\tRUNNING\nscheduler:2\tRUNNING\n:4\n",
		"companion stop scheduler":  "rq-default\tBACKOFF\nrq-long\tSTOPPED\nscheduler:2\tRUNNING\n:4\n",
		"companion status":          "rq-default\tBACKOFF\nrq-long\tSTOPPED\nscheduler\tRUNNING\nscheduler:2\tRUNNING\n:4\n",
		"companion signal HUP":      "rq-default\tBACKOFF\nrq-long\tSTOPPED\nscheduler\tRUNNING\nscheduler:2\tRUNNING\n:4\n",
		"status rq-default rq-long": "scheduler\tRUNNING\nscheduler:2\tRUNNING\n:4\n",
		"logs":                      "rq-default\tBACKOFF\nrq-long\tSTOPPED\nscheduler\tRUNNING\nscheduler:2\tRUNNING\n:4\n",
		"logs scheduler":            ":4\n",
	} {
		args := append([]string{"__complete", "-s", socket}, strings.Fields(line)...)
		code, stdout, stderr := gofork(t, nil, append(args, "")...)
		if code != ExitOK || stdout != want {
			t.Errorf("%s: exit code %d: %q, want %q (%s)", line, code, stdout, want, stderr)
		}
	}
	// Where nobody answers, nothing is offered, and nothing is complained about.
	if _, stdout, _ := gofork(t, nil, "__complete", "-s", filepath.Join(t.TempDir(), "none.sock"), "logs", ""); stdout != ":4\n" {
		t.Errorf("offers %q", stdout)
	}
}
