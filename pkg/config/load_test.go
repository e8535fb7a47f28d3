package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func loadText(t testing.TB, doc string) *Config {
	t.Helper()
	c, err := loadIn(t, t.TempDir(), doc, testHost())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func loadIn(t testing.TB, dir, doc string, h host) (*Config, error) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "app.toml"), []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	return load(Source{Path: "app.toml", Dir: dir}, testKnown(), h)
}

func TestLoadNamesAFileThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		"nope.toml": "nope.toml: cannot read it: no such file or directory",
		".":         ".: cannot read it: is a directory",
	} {
		_, err := load(Source{Path: path, Dir: dir}, testKnown(), testHost())
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
}

func TestLoadRefusesAnEndlessFile(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "big.toml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(maxFile + 1); err != nil {
		t.Fatal(err)
	}
	_, err = load(Source{Path: "big.toml", Dir: dir}, testKnown(), testHost())
	if want := "big.toml: cannot read it: it is larger than 8 MiB"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLoadUsesThisHost(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.toml"), []byte("[worker]\nhandler = \"hello\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Source{Path: filepath.Join(dir, "app.toml")}, testKnown())
	if err != nil {
		t.Fatal(err)
	}
	if c.Worker.Count < 1 || !c.Worker.CountAuto {
		t.Errorf("count = %d, auto = %v", c.Worker.Count, c.Worker.CountAuto)
	}
}

func TestNameComesFromTheFile(t *testing.T) {
	for path, want := range map[string]string{
		"":                                "gofork",
		"/etc/app.toml":                   "app",
		"my app (old).toml":               "my-app--old-",
		".hidden.toml":                    "hidden",
		".toml":                           "gofork",
		"größe.v1.toml":                   "gr--e.v1",
		strings.Repeat("x", 99) + ".toml": strings.Repeat("x", 64),
	} {
		if got := nameOf(path); got != want {
			t.Errorf("nameOf(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestRuntimeDirFallsBack(t *testing.T) {
	for _, tt := range []struct {
		euid    int
		environ []string
		want    string
	}{
		{0, []string{"XDG_RUNTIME_DIR=/run/user/0"}, "/run/gofork"},
		{1000, []string{"XDG_RUNTIME_DIR=/run/user/1000", "TMPDIR=/var/tmp"}, "/run/user/1000/gofork"},
		{1000, []string{"XDG_RUNTIME_DIR=relative", "TMPDIR=/var/tmp"}, "/var/tmp/gofork-1000"},
		{1000, nil, "/tmp/gofork-1000"},
	} {
		h := testHost()
		h.euid = tt.euid
		c, err := load(Source{Environ: append(tt.environ, "GOFORK_WORKER__HANDLER=hello"), Dir: t.TempDir()}, testKnown(), h)
		if err != nil {
			t.Fatal(err)
		}
		if c.Server.RuntimeDir != tt.want || c.Control.Socket != tt.want+"/gofork.sock" {
			t.Errorf("uid %d with %q: %s, %s", tt.euid, tt.environ, c.Server.RuntimeDir, c.Control.Socket)
		}
	}
}

func TestCredentialOfAnOrdinaryUser(t *testing.T) {
	const doc = `
[worker]
command = ["app"]
user = 4321
group = 4322
[companion.a]
command = ["a"]
group = 4322
`
	t.Run("already that user", func(t *testing.T) {
		c, err := loadIn(t, t.TempDir(), doc, host{euid: 4321, egid: 4322, cpus: testHost().cpus})
		if err != nil {
			t.Fatal(err)
		}
		if c.Worker.Credential != nil || c.Worker.NoNewPrivs || len(c.Warnings) != 0 {
			t.Errorf("credential %v, no_new_privs %v, warnings %q", c.Worker.Credential, c.Worker.NoNewPrivs, c.Warnings)
		}
	})
	t.Run("another user", func(t *testing.T) {
		c, err := loadIn(t, t.TempDir(), doc, host{euid: 99, egid: 99, cpus: testHost().cpus})
		if err != nil {
			t.Fatal(err)
		}
		if c.Worker.Credential == nil || len(c.Warnings) != 2 {
			t.Errorf("credential %v, warnings %q", c.Worker.Credential, c.Warnings)
		}
	})
	t.Run("root with a group alone keeps its user and gains privileges as before", func(t *testing.T) {
		c, err := loadIn(t, t.TempDir(), doc, testHost())
		if err != nil {
			t.Fatal(err)
		}
		want := &Credential{GID: 4322, Groups: []uint32{4322}}
		if diff := cmp.Diff(want, c.Companions[0].Credential); diff != "" || c.Companions[0].NoNewPrivs || !c.Worker.NoNewPrivs {
			t.Errorf("no_new_privs %v, %v: %s", c.Companions[0].NoNewPrivs, c.Worker.NoNewPrivs, diff)
		}
	})
}

func TestCredentialLooksNamesUp(t *testing.T) {
	c := loadText(t, "[worker]\ncommand = [\"app\"]\n[server]\nuser = \"root\"\n")
	got := c.Worker.Credential
	if got == nil || got.UID != 0 || got.Login != "root" || got.Home == "" || len(got.Groups) == 0 {
		t.Errorf("root is %+v", got)
	}
}

func TestSharedEnvFileIsReadOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.env")
	if err := os.WriteFile(path, []byte("A=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &resolver{base: dir, envFiles: map[string]envFile{}}
	first, second := map[string]string{}, map[string]string{}
	l.readEnvFiles("a", []string{"x.env"}, first)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l.readEnvFiles("b", []string{path}, second)
	if len(l.problems) > 0 || first["A"] != "1" || second["A"] != "1" {
		t.Errorf("got %v and %v, %v", first, second, l.problems)
	}
}

func TestChildrenDoNotShareEnvironments(t *testing.T) {
	c := loadText(t, "[server]\nenv = { A = \"1\" }\n[companion.a]\ncommand = [\"a\"]\n[companion.b]\ncommand = [\"b\"]\n")
	c.Companions[0].Env["A"] = "changed"
	if c.Companions[1].Env["A"] != "1" || c.Server.Env["A"] != "1" {
		t.Error("a change of one environment is seen in another")
	}
}

func TestSettingsOfOneKeyLaterWins(t *testing.T) {
	c, err := load(Source{Dir: t.TempDir(), Set: []Setting{
		{Key: "worker", Value: `{ command = ["a"], count = 2 }`, Flag: "--set"},
		{Key: "worker.count", Value: "3", Flag: "--workers"},
		{Key: "worker.command", Value: "true", Flag: "--set"},
	}}, testKnown(), testHost())
	if err != nil {
		t.Fatal(err)
	}
	if c.Worker.Count != 3 || c.Worker.Command[0] != "true" {
		t.Errorf("count %d, command %q", c.Worker.Count, c.Worker.Command)
	}
}

func manyCompanions(n int) string {
	var b strings.Builder
	b.WriteString("[companion_defaults]\nenv_file = [\"shared.env\"]\nstop_timeout = \"5s\"\n")
	for i := range n {
		fmt.Fprintf(&b, "[companion.c%d]\ncommand = [\"worker\", \"--queue\", \"q%d\"]\nnumprocs = 2\nenv = { QUEUE = \"q%d\" }\n", i, i, i)
	}
	return b.String()
}

func BenchmarkLoadThousandCompanions(b *testing.B) {
	dir := b.TempDir()
	for name, content := range map[string]string{"app.toml": manyCompanions(1000), "shared.env": "A=1\nB=2\nC=3\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	src := Source{Path: "app.toml", Dir: dir}
	for b.Loop() {
		if _, err := load(src, testKnown(), testHost()); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	paths, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		var doc, environ string
		for _, file := range parseArchive(string(data)) {
			switch file.name {
			case "app.toml":
				doc = file.content
			case "environ":
				environ = file.content
			}
		}
		f.Add(doc, environ, "worker.count", "4")
	}
	f.Fuzz(func(t *testing.T, doc, environ, key, value string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "app.toml"), []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		src := Source{Path: "app.toml", Dir: dir, Environ: strings.Split(environ, "\n")}
		if key != "" {
			src.Set = []Setting{{Key: key, Value: value, Flag: "--set"}}
		}
		if socket, err := SocketOf(src); err != nil || !filepath.IsAbs(socket) {
			t.Fatalf("the socket is %q, %v", socket, err)
		}
		c, err := load(src, testKnown(), testHost())
		if (c == nil) == (err == nil) {
			t.Fatalf("neither or both of a configuration and an error: %v, %v", c, err)
		}
		var ps Problems
		if err != nil && (!errors.As(err, &ps) || len(ps) == 0) {
			t.Fatalf("error is %T %v", err, err)
		}
		for _, p := range ps {
			if p.Rule == "" || p.File == "" {
				t.Fatalf("a problem without place or rule: %+v", p)
			}
		}
		if c != nil && !Diff(c, c).Empty() {
			t.Fatalf("differs from itself: %+v", Diff(c, c))
		}
	})
}

func TestUserOfAnotherLevelComesWithoutItsGroup(t *testing.T) {
	c := loadText(t, `
[server]
user = 4320
group = 5
[worker]
command = ["app"]
user = "root"
`)
	if got := c.Worker.Credential; got.UID != 0 || got.GID == 5 {
		t.Errorf("the worker runs as %d:%d, with the group of server.user", got.UID, got.GID)
	}
}

func TestKeysThatAreNotSupportedYetAreReadAlready(t *testing.T) {
	dir := t.TempDir()
	src := Source{Dir: dir, Environ: []string{
		"GOFORK_WORKER__HANDLER=hello",
		"GOFORK_WORKER__MAX_MEMORY=1GiB",
		`GOFORK_WORKER__WATCH=["*.go"]`,
		"GOFORK_WORKER__HTTP__MAX_BODY=5",
		`GOFORK_WORKER__HTTP__TRUSTED_PROXIES=["10.1.2.3/8", "::2"]`,
		"GOFORK_COMPANION__A__COMMAND=x",
		"GOFORK_COMPANION__A__ON_RELOAD=hup",
		"GOFORK_COMPANION_DEFAULTS__MAX_LIFETIME=1h",
		"GOFORK_ADMIN__BIND=:9090",
		"GOFORK_ADMIN__TOKEN_FILE=token",
		`GOFORK_HOOKS__ON_EXIT=["notify", "${WHO:-me}"]`,
		"GOFORK_HOOKS__PRE_EXEC=[]",
	}}
	c, err := load(src, testKnown(), testHost())
	if err != nil {
		t.Fatal(err)
	}
	if c.Worker.MaxMemory != 1<<30 || c.Worker.HTTP.MaxBody != 5 {
		t.Errorf("worker: %+v", c.Worker)
	}
	for _, tt := range []struct{ got, want any }{
		{c.Worker.Watch, []string{filepath.Join(dir, "*.go")}},
		{c.Worker.HTTP.TrustedProxies, []string{"10.0.0.0/8", "::2/128"}},
		{c.Companions[0].OnReload, OnReload{Signal: syscall.SIGHUP}},
		{c.Companions[0].MaxLifetime, time.Hour},
		{c.Admin, Admin{Bind: ":9090", TokenFile: filepath.Join(dir, "token")}},
		{c.Hooks.Commands, map[string][]string{"on_exit": {"notify", "me"}}},
		{c.Warnings, []string{"admin.bind: :9090 is open on all interfaces"}},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Error(diff)
		}
	}
	_, err = load(Source{Dir: dir, Environ: append(src.Environ, "GOFORK_WORKER__HTTP__TLS_CERT=x", "GOFORK_WORKER__HANDLER=", "GOFORK_WORKER__COMMAND=x")}, testKnown(), testHost())
	const want = "GOFORK_WORKER__HTTP__MAX_BODY: worker.http.max_body: cannot use \"5\": is for handler workers only"
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "worker.http: tls_cert and tls_key must be set together") {
		t.Errorf("got %v", err)
	}
}

func TestNamedPipeIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "app.toml"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := load(Source{Path: "app.toml", Dir: dir}, testKnown(), testHost())
	if err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

// A list in a variable is as easily written as in bind: with commas.
func TestAListOfTextMayHaveCommas(t *testing.T) {
	for _, tt := range []struct{ key, text, want string }{
		{"control.allow_uids", "1000, 1001", "[1000 1001]"},
		{"control.allow_uids", "1000", "[1000]"},
		{"control.allow_uids", "[1000,1001]", "[1000 1001]"},
		{"control.allow_uids", "", "[]"},
		{"companion.a.success_codes", "0,3", "[0 3]"},
		{"worker.watch", "/a/*.py, /b,", "[/a/*.py /b]"},
		{"worker.watch", `"/a"`, "[/a]"},
		{"worker.http.trusted_proxies", "10.0.0.0/8,::1", "[10.0.0.0/8 ::1/128]"},
	} {
		c, err := load(Source{Dir: t.TempDir(), Set: []Setting{
			{"worker.handler", "hello", "--set"}, {"companion.a.command", "a", "--set"}, {tt.key, tt.text, "--set"},
		}}, testKnown(), testHost())
		if err != nil {
			t.Errorf("%s=%s: %v", tt.key, tt.text, err)
			continue
		}
		var got any
		switch tt.key {
		case "control.allow_uids":
			got = c.Control.AllowUIDs
		case "companion.a.success_codes":
			got = c.Companions[0].SuccessCodes
		case "worker.watch":
			got = c.Worker.Watch
		default:
			got = c.Worker.HTTP.TrustedProxies
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%s=%s: %v, want %s", tt.key, tt.text, got, tt.want)
		}
	}
}

func TestEveryUnknownKeyHasANearestOne(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	_, err := loadIn(t, t.TempDir(), "[worker]\ncommand = [\"app\"]\ncuont = 1\nflavour = 1\n"+long+" = 1\n[log]\n\"ü\" = 1\n", testHost())
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 4 {
		t.Fatalf("got %v", err)
	}
	for _, p := range problems {
		if p.Nearest == "" || p.Value != "1" {
			t.Errorf("%.80s: nearest %q, value %q", p.Key, p.Nearest, p.Value)
		}
		if meant := strings.Contains(p.Error(), "did you mean"); meant != (p.Nearest == "count") {
			t.Errorf("%.80s", p.Error())
		}
	}
}

// The gofork that is asked for runs with what was in the file before.
func TestSocketOfABrokenFile(t *testing.T) {
	dir := t.TempDir()
	for name, doc := range map[string]string{
		"garbage behind":    "[server]\nruntime_dir = \"/run/here\"\ngarbage {{\n[worker\n",
		"garbage before":    "{{{\n[server]\nruntime_dir = \"/run/here\"\n",
		"an unknown key":    "[server]\nruntime_dir = \"/run/here\"\nnonsense = 1\n",
		"one value missing": "name =\n[server]\nruntime_dir = \"/run/here\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "app.toml"), []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		if socket, err := SocketOf(Source{Path: "app.toml", Dir: dir}); err != nil || socket != "/run/here/app.sock" {
			t.Errorf("%s: %q, %v", name, socket, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "app.toml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if socket, err := SocketOf(Source{Path: "app.toml", Dir: dir}); err != nil || filepath.Base(socket) != "app.sock" {
		t.Errorf("an empty file: %q, %v", socket, err)
	}
}
