package test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A test that leaves a goroutine behind has not waited for something.
func TestEveryPackageLooksForLeakedGoroutines(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t, "linux") {
		tests := slices.Concat(p.TestGoFiles, p.XTestGoFiles)
		if len(tests) == 0 || slices.ContainsFunc(tests, func(file string) bool {
			return mainUsesGoleak(t, filepath.Join(p.Dir, file))
		}) {
			continue
		}
		t.Errorf("%s has tests, but no TestMain that calls goleak.VerifyTestMain", name(p.ImportPath))
	}
}

// mainUsesGoleak reports whether a file has a TestMain that calls goleak.
func mainUsesGoleak(t *testing.T, path string) (uses bool) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Name.Name != "TestMain" || fn.Body == nil {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "goleak" {
					uses = true
				}
			}
			return !uses
		})
	}
	return uses
}

// What is left to do stands in the issue tracker, where it can be found.
func TestNothingIsMarkedAsUnfinished(t *testing.T) {
	t.Parallel()
	unfinished := regexp.MustCompile(`\b(TODO|FIXME)\b`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", "bin", "dist", "node_modules", "testdata"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, "_test.go") || !d.Type().IsRegular() || d.Name() == "go.sum" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		number := 0
		for line := range strings.Lines(string(data)) {
			number++
			if unfinished.MatchString(line) {
				t.Errorf("%s:%d: %s", strings.TrimPrefix(path, "../"), number, strings.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every package says what it is for.
func TestEveryPackageHasADocComment(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t, "linux") {
		documented := slices.ContainsFunc(p.GoFiles, func(file string) bool {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			return parsed.Doc != nil
		})
		if len(p.GoFiles) > 0 && !documented {
			t.Errorf("%s has no package comment", name(p.ImportPath))
		}
	}
}

// withoutExample are the packages of which nothing can be shown in a few lines.
var withoutExample = map[string]string{
	"pkg/arbiter":     "it is a whole process; cli starts it, and test/ shows it",
	"pkg/proc/nofile": "it is two numbers",
}

// How a package is used is said best by a few lines that run.
func TestEveryPackageHasAnExampleThatRuns(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t, "linux") {
		from := name(p.ImportPath)
		if !strings.HasPrefix(from, "pkg/") || forTests(from) {
			continue
		}
		found := false
		for _, file := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			text, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			found = found || bytes.Contains(text, []byte("\nfunc Example")) && bytes.Contains(text, []byte("\t// Output:"))
		}
		if reason := withoutExample[from]; found == (reason != "") {
			t.Errorf("%s: has an example: %v, which this test knows otherwise (%q)", from, found, reason)
		}
	}
}

// A sleep is either too short, and the test fails now and then, or too long,
// and everybody waits. Only where time is virtual is it exact.
func TestTestsSleepOnlyInVirtualTime(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t, "linux") {
		for _, file := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			fset := token.NewFileSet()
			parsed, err := parser.ParseFile(fset, filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(parsed.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == `"testing/synctest"` }) {
				continue
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && sleeps(call) {
					t.Errorf("%s/%s:%d: time.Sleep; wait for a fact", name(p.ImportPath), file, fset.Position(n.Pos()).Line)
				}
				return true
			})
		}
	}
}

// sleeps reports whether a call is time.Sleep. An hour is not meant to pass: it
// is how a child process stays until it is killed.
func sleeps(call *ast.CallExpr) bool {
	is := func(e ast.Expr, selected string) bool {
		sel, ok := e.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != selected {
			return false
		}
		x, ok := sel.X.(*ast.Ident)
		return ok && x.Name == "time"
	}
	return is(call.Fun, "Sleep") && !is(call.Args[0], "Hour")
}
