package importer

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/config"
	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write what the imports give into testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// golden compares an import with the file beside its source, and loads it: what is
// imported has to be a configuration.
func golden(t *testing.T, path string, got Result, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	file := path + ".toml"
	if *update {
		if err := os.WriteFile(file, []byte(got.TOML), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.TOML); diff != "" {
		t.Errorf("import differs (-want +got), run with -update if that is right:\n%s", diff)
	}
	if n := strings.Count(got.TOML, "# not mapped: "); n != got.Unmapped {
		t.Errorf("says that %d things are not mapped, and has %d comments", got.Unmapped, n)
	}
	environ := []string{"VENV=/venv", "PATH=/bin"}
	if _, err := config.Load(config.Source{Path: file, Environ: environ}, config.Known{}); err != nil {
		t.Errorf("cannot be loaded: %v", err)
	}
}

func each(t *testing.T, pattern string, run func(t *testing.T, path, text string)) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, ".toml") || info.IsDir() {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found++
		t.Run(filepath.Base(path), func(t *testing.T) { run(t, path, string(text)) })
	}
	if found < 10 {
		t.Errorf("only %d files", found)
	}
}

func TestSupervisordFiles(t *testing.T) {
	each(t, "testdata/supervisord/*", func(t *testing.T, path, text string) {
		got, err := Supervisord{
			Name: filepath.Base(path), Here: "/etc/supervisor", Text: text,
			Include: func(pattern string) ([]Supervisord, error) {
				if filepath.IsAbs(pattern) {
					return nil, nil
				}
				return readAll(t, filepath.Join("testdata/supervisord", pattern)), nil
			},
		}.Import()
		golden(t, path, got, err)
	})
}

func readAll(t *testing.T, pattern string) (files []Supervisord) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, Supervisord{Name: filepath.Base(path), Text: string(text)})
	}
	return files
}

func TestProcfiles(t *testing.T) {
	each(t, "testdata/procfile/*", func(t *testing.T, path, text string) {
		got, err := Procfile("Procfile", text)
		golden(t, path, got, err)
	})
}

func TestPasswordsAreNotRepeated(t *testing.T) {
	text, err := os.ReadFile("testdata/supervisord/sample.conf")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Supervisord{Name: "s", Text: string(text) + "[supervisord]\npassword=hunter2\n"}.Import()
	if err != nil || strings.Contains(got.TOML, "hunter2") {
		t.Errorf("%v: shows a password:\n%s", err, got.TOML)
	}
}

func TestFilesThatCannotBeImported(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "there is no [program:NAME] section",
		"[supervisord]\n":               "there is no [program:NAME] section",
		"command=x\n":                   `f:1: "command=x" stands before the first [section]`,
		"[program:x]\ncommand\n":        `f:2: "command" is not KEY = VALUE`,
		"[program:x]\ncommand=a\x00b\n": "f:2: has a NUL byte",
	} {
		if _, err := (Supervisord{Name: "f", Text: text}).Import(); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                 "no line is NAME: COMMAND",
		"nothing here":     "no line is NAME: COMMAND",
		"release: migrate": "there is nothing that keeps running",
	} {
		if _, err := Procfile("f", text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestSplit(t *testing.T) {
	for text, want := range map[string][]string{
		"":                        nil,
		" a  b ":                  {"a", "b"},
		`a 'b c' "d e"`:           {"a", "b c", "d e"},
		`a\ b 'it'\''s'`:          {"a b", "it's"},
		`"a\"b\\c\d" ''`:          {`a"b\c\d`, ""},
		`x'y'"z"`:                 {"xyz"},
		"a;b|c $D":                {"a;b|c", "$D"},
		"line\nbreak\tand 'a\nb'": {"line", "break", "and", "a\nb"},
	} {
		got, err := split(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v\n%s", text, err, diff)
		}
	}
	for _, text := range []string{`"a`, `'a`, `a\`} {
		if words, err := split(text); err == nil {
			t.Errorf("%q: %q, want an error", text, words)
		}
	}
}

func TestExpand(t *testing.T) {
	sc := scope{text: map[string]string{"here": "/etc/${x}", "brace": "{x}"}, numbers: map[string]int{"process_num": 7}}
	for text, want := range map[string]string{
		"":                                   "",
		"100%% $A ${B}":                      "100% $A $${B}",
		"%(here)s/%(ENV_A)s":                 "/etc/$${x}/${A}",
		"%(process_num)d %(process_num)03d":  "7 007",
		"%(process_num)s-%(process_num)-3d|": "7-7  |",
	} {
		if got, err := sc.expand(text); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"%", "%d", "%(here)", "%(here)d", "%(nothing)s", "%(ENV_a b)s", "$%(ENV_A)s", "$%(brace)s"} {
		if got, err := sc.expand(text); err == nil {
			t.Errorf("%q: %q, want an error", text, got)
		}
	}
}

func FuzzSupervisord(f *testing.F) {
	paths, err := filepath.Glob("testdata/supervisord/*.conf")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("[fcgi-program:000]\nCommAnd=")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Supervisord{Name: "supervisord.conf", Here: "/etc", Text: text}.Import()
		if err == nil {
			isTOML(t, got)
		}
	})
}

func FuzzProcfile(f *testing.F) {
	paths, err := filepath.Glob("testdata/procfile/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Procfile("Procfile", text)
		if err == nil {
			isTOML(t, got)
		}
	})
}

// isTOML wants a document with a companion: no input may break out of a value or a
// comment.
func isTOML(t *testing.T, got Result) {
	t.Helper()
	var tree map[string]any
	if err := toml.Unmarshal([]byte(got.TOML), &tree); err != nil {
		t.Fatalf("%v\n%s", err, got.TOML)
	}
	for table := range tree {
		switch table {
		case "companion", "companion_defaults", "server", "log":
		default:
			t.Errorf("has a table %q:\n%s", table, got.TOML)
		}
	}
	if _, ok := tree["companion"].(map[string]any); !ok {
		t.Errorf("has no companion:\n%s", got.TOML)
	}
}
