package config

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goldenCase is an archive in testdata: the files of a working directory; "environ" and
// "settings" (KEY=VALUE lines, a flag's name first) for the other layers; "want" for the
// result. The file is app.toml when there is one.
type goldenCase struct {
	files []file
	path  string
	src   Source
	want  string
}

type file struct{ name, content string }

// parseArchive reads the txtar format: "-- NAME --" lines, each before its content.
func parseArchive(data string) []file {
	var files []file
	for line := range strings.Lines(data) {
		name, isMarker := strings.CutPrefix(line, "-- ")
		if name, ends := strings.CutSuffix(name, " --\n"); isMarker && ends {
			files = append(files, file{name: name})
		} else if len(files) > 0 {
			files[len(files)-1].content += line
		}
	}
	return files
}

func readCase(t testing.TB, path string) *goldenCase {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &goldenCase{files: parseArchive(string(data)), path: path, src: Source{Dir: dir}}
	for _, f := range c.files {
		content := f.content
		lines := strings.Split(strings.TrimSuffix(content, "\n"), "\n")
		switch f.name {
		case "want":
			c.want = content
		case "environ":
			c.src.Environ = lines
		case "settings":
			for _, line := range lines {
				flag, setting, _ := strings.Cut(line, " ")
				key, value, _ := strings.Cut(setting, "=")
				c.src.Set = append(c.src.Set, Setting{Key: key, Value: value, Flag: flag})
			}
		default:
			if f.name == "app.toml" {
				c.src.Path = f.name
			}
			content = strings.ReplaceAll(content, "$WORK", dir)
			name := filepath.Join(dir, f.name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c
}

// check compares a result with the archive's, or writes it there.
func (c *goldenCase) check(t *testing.T, got string) {
	t.Helper()
	got = strings.ReplaceAll(got, c.src.Dir, "$WORK")
	if *update {
		var b strings.Builder
		for _, f := range c.files {
			if f.name != "want" {
				b.WriteString("-- " + f.name + " --\n" + f.content)
			}
		}
		b.WriteString("-- want --\n" + got)
		if err := os.WriteFile(c.path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(c.want, got); diff != "" {
		t.Errorf("result differs (-want +got), run with -update if that is right:\n%s", diff)
	}
}

// testHost is a machine on which results do not depend on who runs the test.
func testHost() host { return host{euid: 0, egid: 0, cpus: func() int { return 3 }} }

func testKnown() Known {
	return Known{Handlers: []string{"hello", "static", "proxy"}, Targets: []string{"ticker"}}
}

func eachCase(t *testing.T, pattern string, run func(t *testing.T, c *goldenCase)) {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases in %s: %v", pattern, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { run(t, readCase(t, path)) })
	}
}

func TestLoadReportsEverythingThatIsWrong(t *testing.T) {
	eachCase(t, "testdata/bad/*.txtar", func(t *testing.T, c *goldenCase) {
		_, err := load(c.src, testKnown(), testHost())
		if err == nil {
			t.Fatal("loaded without an error")
		}
		if ps := (Problems{}); !errors.As(err, &ps) {
			t.Fatalf("error is a %T, want Problems: %v", err, err)
		}
		c.check(t, err.Error()+"\n")
	})
}

func TestLoadResolvesGoodFiles(t *testing.T) {
	eachCase(t, "testdata/good/*.txtar", func(t *testing.T, c *goldenCase) {
		got, err := load(c.src, testKnown(), testHost())
		if err != nil {
			t.Fatal(err)
		}
		// A hash covers absolute paths, and the directory is another one each time.
		for i := range got.Companions {
			got.Companions[i].Hash = ""
		}
		text, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		c.check(t, string(text)+"\n")
	})
}
