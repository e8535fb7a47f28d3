package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

// sealed is c with every value masked that its effective form masks.
func sealed(c *Config) *Config {
	seal := func(env map[string]string) map[string]string {
		out := map[string]string{}
		for name := range env {
			out[name] = Mask
		}
		return out
	}
	s := *c
	s.Path, s.Warnings = "", nil
	s.Server.Env = seal(c.Server.Env)
	if c.Worker != nil {
		w := *c.Worker
		w.Env, w.Options = seal(w.Env), withoutSecrets(w.Options)
		s.Worker = &w
	}
	s.Companions = nil
	for _, c := range c.Companions {
		c.Env = seal(c.Env)
		if c.Target != "" {
			c.Options = withoutSecrets(c.Options)
		}
		c.Hash = hashOf(&c)
		s.Companions = append(s.Companions, c)
	}
	return &s
}

// asJSON is what is seen of a configuration: empty and missing are the same.
func asJSON(t *testing.T, c *Config) string {
	t.Helper()
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(": []", ": null", ": {}", ": null").Replace(string(text))
}

func TestEffectiveResolvesToTheSameAgain(t *testing.T) {
	eachCase(t, "testdata/good/*.txtar", func(t *testing.T, c *goldenCase) {
		before, err := load(c.src, testKnown(), testHost())
		if err != nil {
			t.Fatal(err)
		}
		// Over the wire it is JSON, as control.Client reads it.
		wire, err := json.Marshal(before.Effective())
		if err != nil {
			t.Fatal(err)
		}
		var tree map[string]any
		decoder := json.NewDecoder(bytes.NewReader(wire))
		decoder.UseNumber()
		if err := decoder.Decode(&tree); err != nil {
			t.Fatal(err)
		}
		text := FormatTOML(tree)
		if err := os.WriteFile(filepath.Join(c.src.Dir, "app.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		// Env files are expanded again; what else a variable said is in the text.
		environ := slices.DeleteFunc(slices.Clone(c.src.Environ), func(e string) bool { return strings.HasPrefix(e, envPrefix) })
		after, err := load(Source{Path: "app.toml", Dir: c.src.Dir, Environ: environ}, testKnown(), testHost())
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(asJSON(t, sealed(before)), asJSON(t, sealed(after))); diff != "" {
			t.Errorf("resolves to something else (-before +after):\n%s\n%s", diff, text)
		}
		if diff := cmp.Diff(text, FormatTOML(after.Effective())); diff != "" {
			t.Errorf("is written differently (-first +second):\n%s", diff)
		}
	})
}

func TestEffectiveHasEveryKey(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.env"), []byte("B=b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const process = `env = { A = "a" }
env_file = ["a.env"]
rlimits = { core = 0 }
user = 4320
group = 4321
options = { root = "/srv" }
`
	hooks := "[hooks]\n"
	for _, k := range hookKeys() {
		if k.Kind == KindArgv {
			hooks += k.Name + ` = ["true"]` + "\n"
		}
	}
	c, err := loadIn(t, dir, "[server]\nenv = { A = \"a\" }\nenv_file = [\"a.env\"]\n[worker]\nhandler = \"static\"\n"+process+
		"[companion.a]\ntarget = \"ticker\"\n"+process+"[companion.b]\ncommand = [\"x\"]\n"+hooks, testHost())
	if err != nil {
		t.Fatal(err)
	}
	tree := c.Effective()
	// Applied to what is there, or impossible beside it.
	applied := []string{"server.user", "server.group", "worker.command"}
	for _, k := range Keys() {
		tables := []string{k.Table}
		if k.Table == companionTable {
			tables = []string{"companion.a", "companion.b"}
		}
		found := slices.ContainsFunc(tables, func(table string) bool {
			_, ok := tableAt(tree, table)[k.Name]
			return ok
		})
		if found == slices.Contains(applied, k.Path()) {
			t.Errorf("%s: there is %v", k.Path(), found)
		}
	}
	if got, want := FormatValue(tableAt(tree, "worker")["env_file"]), FormatValue([]string{filepath.Join(dir, "a.env")}); got != want {
		t.Errorf("worker.env_file is %s, want %s", got, want)
	}
}

func TestEffectiveNamesEnvFilesWhereTheyAreSet(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"all.env", "own.env", "a ${b}.env"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("SECRET=hunter2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := loadIn(t, dir, `
[worker]
command = ["x"]
[companion_defaults]
env_file = ["all.env", "a $${b}.env"]
[companion.a]
command = ["x"]
[companion.b]
command = ["x"]
env_file = ["own.env"]
[companion.c]
command = ["x"]
env_file = []
`, testHost())
	if err != nil {
		t.Fatal(err)
	}
	tree := c.Effective()
	for table, want := range map[string]any{
		"server": nil, "worker": nil, "companion.c": nil,
		"companion.a": []any{filepath.Join(dir, "all.env"), filepath.Join(dir, "a $${b}.env")},
		"companion.b": []any{filepath.Join(dir, "own.env")},
	} {
		if diff := cmp.Diff(want, tableAt(tree, table)["env_file"]); diff != "" {
			t.Errorf("%s: %s", table, diff)
		}
	}
	if text := FormatTOML(tree); strings.Contains(text, "hunter2") {
		t.Errorf("shows a secret:\n%s", text)
	}
}

func TestEffectiveMasksSecrets(t *testing.T) {
	c := loadText(t, `
[worker]
handler = "proxy"
options = { upstream = "http://u:hunter2@h", api_key = "hunter2", nested = [{ db_password = ["hunter2"], n = 1 }], token_file = "/run/t", keyring = "open" }
[companion.a]
command = ["x", "$${A}"]
env = { A = "hunter2", "a b" = "hunter2" }
`)
	tree := c.Effective()
	text := FormatTOML(tree)
	if strings.Contains(text, "hunter2") {
		t.Errorf("shows a secret:\n%s", text)
	}
	for _, want := range []string{
		`options = { api_key = "********", keyring = "open", nested = [{ db_password = ["********"], n = 1 }], token_file = "/run/t", upstream = "http://u:********@h" }`,
		`env = { A = "********", "a b" = "********" }`,
		`command = ["x", "$${A}"]`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestFormatsAreReadBack(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Second: "1m30s", 5 * time.Minute: "5m", time.Hour: "1h", 10 * time.Second: "10s",
		20 * time.Minute: "20m", 100 * time.Hour: "100h", time.Hour + time.Second: "1h0m1s", 1500 * time.Microsecond: "1.5ms",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%s is written %s, want %s", d, got, want)
		}
		if back, rule := parseDuration(&Key{}, want); back != d || rule != "" {
			t.Errorf("%s is read as %s: %s", want, back, rule)
		}
	}
	for n, want := range map[int64]any{0: int64(0), 1023: int64(1023), 1024: "1KiB", 512 << 20: "512MiB", 1 << 50: "1PiB", 1500: int64(1500)} {
		if got := FormatSize(n); got != want {
			t.Errorf("%d is written %v, want %v", n, got, want)
		}
		if back, rule := parseSize(&Key{}, want); back != n || rule != "" {
			t.Errorf("%v is read as %d: %s", want, back, rule)
		}
	}
	for _, s := range []string{"", "a\"b\\c\n\t\r\x01\x7f", "ünï 🐢", "${A}", "'"} {
		var back struct{ V string }
		if err := toml.Unmarshal([]byte("v = "+FormatValue(s)), &back); err != nil || back.V != s {
			t.Errorf("%q is read as %q: %v", s, back.V, err)
		}
	}
}

func TestExamplesSurviveBeingShown(t *testing.T) {
	paths, err := filepath.Glob("../../configs/*.toml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, path := range paths {
		before, err := load(Source{Path: path}, testKnown(), testHost())
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		after, err := loadIn(t, t.TempDir(), FormatTOML(before.Effective()), testHost())
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if diff := cmp.Diff(asJSON(t, sealed(before)), asJSON(t, sealed(after))); diff != "" {
			t.Errorf("%s resolves to something else (-before +after):\n%s", path, diff)
		}
	}
}
