//go:build linux

package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/gofork/gofork/pkg/config"
)

// promised are the events that are stable: programs wait for them.
var promised = strings.Fields(`
	server.starting server.listening server.ready server.stopping server.stopped server.signal
	config.error reload.started reload.done reload.failed upgrade.started upgrade.promoted upgrade.failed
	worker.started worker.ready worker.exited worker.timeout worker.draining worker.killed worker.recycled
	worker.backoff workers.scaled manager.started manager.ready manager.exited manager.backoff manager.killed
	companion.started companion.running companion.exited companion.backoff companion.fatal companion.stopping
	companion.stopped companion.killed companions.applied hook.failed orphan.reaped`)

// operations is docs/operations.md, by the headings of its sections.
func operations(t *testing.T) map[string]string {
	t.Helper()
	sections := map[string]string{}
	for i, part := range strings.Split(readFile(t, filepath.Join(repository(t), "docs", "operations.md")), "\n## ") {
		heading, text, _ := strings.Cut(part, "\n")
		if i > 0 {
			sections[heading] = text
		}
	}
	return sections
}

// rows are the cells of a section's tables.
func rows(text string) (cells [][]string) {
	for line := range strings.Lines(text) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "|")
		if !ok || strings.HasPrefix(line, "---") {
			continue
		}
		row := strings.Split(strings.TrimSuffix(line, "|"), "|")
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		cells = append(cells, row)
	}
	return cells
}

// literals are the strings in a package's source, without its tests.
func literals(t *testing.T, pkg string) (all []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository(t), pkg, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s: %v", pkg, err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					all = append(all, s)
				}
			}
			return true
		})
	}
	return all
}

func TestOperationsPageHasEveryEvent(t *testing.T) {
	t.Parallel()
	key := map[string]bool{"worker.http": true} // looks like an event; worker.ready and worker.timeout are both
	for _, k := range config.Keys() {
		key[k.Table+"."+k.Name] = true
	}
	event := regexp.MustCompile(`^(server|config|reload|upgrade|workers?|manager|companions?|hook|orphan|request)\.[a-z]+$`)
	there := map[string]bool{"request": true}
	for _, pkg := range []string{"pkg/arbiter", "pkg/companion", "pkg/worker", "pkg/cli"} {
		for _, s := range literals(t, pkg) {
			if event.MatchString(s) && (!key[s] || slices.Contains(promised, s)) {
				there[s] = true
			}
		}
	}
	told := map[string]bool{}
	for _, row := range rows(operations(t)["Log events"]) {
		told[row[0]] = row[0] != "event"
	}
	delete(told, "event")
	for _, e := range promised {
		if !there[e] {
			t.Errorf("%s is promised, and nothing logs it", e)
		}
	}
	for e := range there {
		if !told[e] {
			t.Errorf("docs/operations.md does not tell of the event %s", e)
		}
	}
	for e := range told {
		if !there[e] {
			t.Errorf("docs/operations.md tells of the event %s, which there is not", e)
		}
	}
}

func TestOperationsPageHasEveryMetric(t *testing.T) {
	t.Parallel()
	admin := freeAddr(t)
	s := start(t, twoHello+serverTable+`reuse_port = true
[companion.beside]
command = ["sleep", "1000"]
startsecs = "0s"
[admin]
bind = "`+admin+`"
`)
	s.ready()
	s.must("reload")
	there := scrape(t, admin)
	told := map[string]bool{}
	for _, row := range rows(operations(t)["Metrics"]) {
		name := row[0]
		if !strings.HasPrefix(name, "gofork_") {
			continue
		}
		told[name] = true
		f := there[name]
		if f == nil {
			t.Errorf("docs/operations.md has %s, which gofork does not have", name)
			continue
		}
		kind := strings.ToLower(f.GetType().String())
		if len(row) != 4 || row[1] != kind || row[3] != f.GetHelp() {
			t.Errorf("docs/operations.md has %q; gofork has type %s and says %q", row, kind, f.GetHelp())
		}
		labels := strings.FieldsFunc(row[2], func(r rune) bool { return r == ',' || r == ' ' })
		if used := labelsOf(f); !slices.Equal(slices.Sorted(slices.Values(labels)), used) {
			t.Errorf("docs/operations.md gives %s the labels %q, gofork %q", name, labels, used)
		}
	}
	for name := range there {
		if strings.HasPrefix(name, "gofork_") && !told[name] {
			t.Errorf("docs/operations.md does not have the metric %s", name)
		}
	}
	if len(told) < 40 {
		t.Errorf("only %d metrics", len(told))
	}
}

func labelsOf(f *dto.MetricFamily) []string {
	names := map[string]bool{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			names[l.GetName()] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func TestOperationsPageHasEveryExitCode(t *testing.T) {
	t.Parallel()
	text := operations(t)["Exit codes"]
	serve, clients, ok := strings.Cut(text, "All other commands:")
	if !ok {
		t.Fatal("the table of the other commands is not found")
	}
	for who, c := range map[string]struct {
		text string
		want []string
	}{
		"serve":   {serve, []string{"0", "1", "2", "3", "4", "5", "any other, 128+n"}},
		"clients": {clients, []string{"0", "1", "2", "3", "4", "5"}},
	} {
		var told []string
		for _, row := range rows(c.text) {
			if row[0] != "code" {
				told = append(told, row[0])
			}
			if row[1] == "" {
				t.Errorf("%s: code %s has no meaning", who, row[0])
			}
		}
		if !slices.Equal(told, c.want) {
			t.Errorf("%s: docs/operations.md has the exit codes %q, want %q", who, told, c.want)
		}
	}
}

// Somebody was woken by it and looks the name up.
func TestOperationsPageSaysWhatToDoOnEveryAlert(t *testing.T) {
	t.Parallel()
	rules := readFile(t, shipped(t, "monitoring", "alerts.yaml"))
	there := map[string]string{} // severity
	for _, m := range regexp.MustCompile(`(?s)- alert: (\w+).*?severity: (\w+)`).FindAllStringSubmatch(rules, -1) {
		there[m[1]] = m[2]
	}
	told := map[string]bool{}
	for _, row := range rows(operations(t)["Alerts"]) {
		if row[0] == "alert" {
			continue
		}
		told[row[0]] = true
		if len(row) != 4 || row[1] != there[row[0]] || row[2] == "" || row[3] == "" {
			t.Errorf("docs/operations.md has %q; the rule's severity is %q", row, there[row[0]])
		}
	}
	for name := range there {
		if !told[name] {
			t.Errorf("docs/operations.md does not say what to do on %s", name)
		}
	}
	if len(there) < 12 {
		t.Errorf("only %d alerts", len(there))
	}
}

// docs/tested.md is a promise of tests.
func TestTestedPageNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	page := readFile(t, filepath.Join(repository(t), "docs", "tested.md"))
	named := regexp.MustCompile("(?:((?:pkg|docs)/[a-z]+) )?`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(page, -1)
	if len(named) < 50 {
		t.Fatalf("only %d tests are named", len(named))
	}
	for _, m := range named {
		dir := m[1]
		if dir == "" {
			dir = "test"
		}
		files, err := filepath.Glob(filepath.Join(repository(t), dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(path string) bool {
			return strings.Contains(readFile(t, path), "\nfunc "+m[2]+"(t *testing.T)")
		}) {
			t.Errorf("docs/tested.md names %s of %s, which does not exist", m[2], dir)
		}
	}
}

func TestOperationsPageHasEveryVariableOfChildren(t *testing.T) {
	t.Parallel()
	told := map[string][2]bool{} // for workers, for companions
	for _, row := range rows(operations(t)["Environment of children"]) {
		for name := range strings.SplitSeq(row[0], ", ") {
			told[name] = [2]bool{row[1] != "", row[2] != ""}
		}
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user = \"54321\"\ngroup = \"54321\"\n"
	}
	s := start(t, sleepWorkers(1)+`
[companion.beside]
command = ["sleep", "1000"]
startsecs = "0s"
[server]
bind = ["@ADDR"]
`+user)
	st := s.ready()
	for i, pid := range []int{workerPIDs(st)[0], companion(t, st, "beside").PID} {
		for _, name := range keys(given(t, s, pid)) {
			if !told[name][i] {
				t.Errorf("docs/operations.md does not tell of %s for %s", name, []string{"workers", "companions"}[i])
			}
		}
	}
}
