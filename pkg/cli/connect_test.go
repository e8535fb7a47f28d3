package cli

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestClientFindsTheSocket(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "live.sock")
	serveFake(t, newFake().well(), socket)
	const worker = "[worker]\ncommand = [\"/bin/true\"]\n"
	for _, tt := range []struct {
		name    string
		file    string // app.toml, or live.toml when the name must come from it
		text    string
		args    []string
		environ []string
		code    int
	}{
		{"by -s", "", "", []string{"-s", socket}, nil, 0},
		{"by -s before everything", "", "", []string{"-s", socket}, []string{"GOFORK_SOCKET=/nowhere"}, 0},
		{"by GOFORK_SOCKET", "", "", nil, []string{"GOFORK_SOCKET=" + socket}, 0},
		{"by control.socket", "app.toml", worker + "[control]\nsocket = \"" + socket + "\"\n", nil, nil, 0},
		{"by runtime_dir and name", "app.toml", "name = \"live\"\n" + worker + "[server]\nruntime_dir = \"" + dir + "\"\n", nil, nil, 0},
		{"by runtime_dir and the file's name", "live.toml", worker + "[server]\nruntime_dir = \"" + dir + "\"\n", nil, nil, 0},
		{"by a file with errors", "app.toml", "name = \"live\"\n[workr]\n[server]\nruntime_dir = \"" + dir + "\"\n", nil, nil, 0},
		{"by a file with variables and errors", "app.toml", "x = 1\n[control]\nsocket = \"${HERE}/live.sock\"\n", nil, []string{"HERE=" + dir}, 0},
		{"by a file with defaults and errors", "app.toml", "x = 1\n[control]\nsocket = \"${NOPE:-" + dir + "}/live.sock\"\n", nil, nil, 0},
		{"by a file with a secret of systemd's", "live.toml", worker + "env_file = [\"${CREDENTIALS_DIRECTORY}/app.env\"]\n[server]\nruntime_dir = \"${NOPE:-" + dir + "}\"\n", nil, nil, 0},
		{"by a file with an odd name and errors", "=live.toml", "x = 1\n[server]\nruntime_dir = \"" + dir + "\"\n", nil, nil, 0},
		{"by variables and a file that is no TOML", "live.toml", "][", nil, []string{"GOFORK_SERVER__RUNTIME_DIR=" + dir}, 0},
		{"by GOFORK_CONTROL__SOCKET", "", "", nil, []string{"GOFORK_CONTROL__SOCKET=${HERE:-" + dir + "}/live.sock"}, 0},
		{"by GOFORK_SERVER__RUNTIME_DIR", "", "", nil, []string{"GOFORK_SERVER__RUNTIME_DIR=" + dir}, 0},
		{"by GOFORK_NAME, too", "", "", nil, []string{"GOFORK_SERVER__RUNTIME_DIR=" + dir, "GOFORK_NAME=live"}, 0},
		{"not by another name", "", "", nil, []string{"GOFORK_SERVER__RUNTIME_DIR=" + dir, "GOFORK_NAME=other"}, 5},
		{"not where nobody answers", "", "", []string{"-s", filepath.Join(dir, "other.sock")}, nil, 5},
		{"not by a file that is not there", "", "", []string{"-c", filepath.Join(dir, "none.toml")}, nil, 5},
		{"not when it is stopped", "app.toml", worker + "[server]\nruntime_dir = \"" + dir + "\"\n", nil, nil, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"status", "--check"}, tt.args...)
			if tt.file != "" {
				path := filepath.Join(t.TempDir(), tt.file)
				write(t, path, tt.text)
				args = append(args, "-c", path)
			}
			code, stdout, stderr := gofork(t, tt.environ, args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d: %s%s", code, tt.code, stdout, stderr)
			}
			if tt.code != 0 && !strings.HasPrefix(stderr, "gofork: cannot reach gofork") {
				t.Errorf("stderr %q", stderr)
			}
		})
	}
}

func TestOnlySocketOfTheDefaultDirectoryIsTaken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[odd] dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	find := func() (string, error) { return onlySocket(dir) }
	if _, err := find(); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("none: error %v", err)
	}
	listen := func(name string) net.Listener {
		t.Helper()
		ln, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		ln.(*net.UnixListener).SetUnlinkOnClose(false)
		t.Cleanup(func() { _ = ln.Close() })
		return ln
	}
	first := filepath.Join(dir, "a.sock")
	one := listen("a.sock")
	listen("a.sock.2") // of a new arbiter during an upgrade
	if got, err := find(); got != first || err != nil {
		t.Errorf("one: %q, %v", got, err)
	}
	listen("b.sock")
	if _, err := find(); err == nil || !strings.Contains(err.Error(), "b.sock") || !strings.Contains(err.Error(), "-s SOCKET") {
		t.Errorf("two: error %v", err)
	}
	_ = one.Close() // as a gofork that was killed: the file stays
	if got, err := find(); got != filepath.Join(dir, "b.sock") || err != nil {
		t.Errorf("one of two is dead: %q, %v", got, err)
	}
}

func TestCompletionOffersLiveCompanions(t *testing.T) {
	socket := startFake(t, newFake())
	for _, tt := range []struct{ line, want string }{
		{"companion start ", "rq-default\tBACKOFF\nrq-long\tSTOPPED\nscheduler\tRUNNING\nscheduler:2\tRUNNING\n:4\n"},
		{"status scheduler ", "rq-default\tBACKOFF\nrq-long\tSTOPPED\nscheduler:2\tRUNNING\n:4\n"},
		{"companion signal HUP rq-long ", "rq-default\tBACKOFF\nscheduler\tRUNNING\nscheduler:2\tRUNNING\n:4\n"},
		{"logs scheduler ", ":4\n"},
		{"check --platform ", "docker\nkubernetes\nsystemd\n:4\n"},
	} {
		args := append([]string{"__complete"}, strings.Split(tt.line, " ")...)
		code, stdout, stderr := gofork(t, []string{"GOFORK_SOCKET=" + socket}, args...)
		if code != 0 || stdout != tt.want {
			t.Errorf("%q: exit code %d, completes\n%swant\n%s%s", tt.line, code, stdout, tt.want, stderr)
		}
	}
	if code, stdout, _ := gofork(t, []string{"GOFORK_SOCKET=/nowhere"}, "__complete", "companion", "stop", ""); code != 0 || stdout != ":4\n" {
		t.Errorf("without a gofork: exit code %d, %q", code, stdout)
	}
}
