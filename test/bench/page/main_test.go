package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

var rewrite = flag.Bool("update", false, "write the page in testdata anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFiguresReplaceWhatIsBetweenTheMarks(t *testing.T) {
	t.Parallel()
	const want = "testdata/after.md"
	page := filepath.Join(t.TempDir(), "page.md")
	before, err := os.ReadFile("testdata/before.md")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(page, before, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time the figures are those of the first
		if err := update(page, "testdata/bench.json"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		if err := os.WriteFile(want, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expected, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(expected) {
		t.Errorf("the page is\n%s\nwant %s:\n%s", got, want, expected)
	}
}

func TestAPageWithoutMarksIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"none":      "a page\n",
		"no end":    beginMark + "\n",
		"no begin":  endMark + "\n",
		"end first": endMark + beginMark,
	} {
		page := filepath.Join(t.TempDir(), "page.md")
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := update(page, "testdata/bench.json")
		if err == nil || !strings.Contains(err.Error(), "it has no") {
			t.Errorf("%s: error %v", name, err)
		}
		if left, err := os.ReadFile(page); err != nil || string(left) != text {
			t.Errorf("%s: the page is %q, %v", name, left, err)
		}
	}
}

// docs/comparison.md can take new figures.
func TestTheComparisonHasTheMarks(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/comparison.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replace(page, ""); err != nil {
		t.Errorf("docs/comparison.md: %v", err)
	}
}

// Every fact of docs/comparison.md that names a source names one that is listed,
// and no source is listed for nothing.
func TestTheComparisonNamesItsSources(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/comparison.md")
	if err != nil {
		t.Fatal(err)
	}
	text, sources, ok := strings.Cut(string(page), "\n## How each fact was found\n")
	if !ok {
		t.Fatal("the page does not say how each fact was found")
	}
	letter := regexp.MustCompile(`\b[A-Z]\d\b`)
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([A-Z]\d(?:, [A-Z]\d)*) \|`).FindAllStringSubmatch(sources, -1) {
		for _, l := range letter.FindAllString(row[1], -1) {
			listed[l] = true
		}
	}
	cited := map[string]bool{}
	for _, group := range regexp.MustCompile(`\[[A-Z]\d(?:, [A-Z]\d)*\]`).FindAllString(text, -1) {
		for _, l := range letter.FindAllString(group, -1) {
			cited[l] = true
			if !listed[l] {
				t.Errorf("%s is cited, and no source", l)
			}
		}
	}
	for l := range listed {
		if !cited[l] {
			t.Errorf("%s is a source that nothing cites", l)
		}
	}
}

// GitHub drops cells that a row has more than the head, without a word.
func TestTablesOfTheComparisonAreEven(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"docs/comparison.md", "README.md"} {
		page, err := os.ReadFile(filepath.Join("../../..", file))
		if err != nil {
			t.Fatal(err)
		}
		number, cells := 0, 0
		for line := range strings.Lines(string(page)) {
			number++
			if !strings.HasPrefix(line, "|") {
				cells = 0
				continue
			}
			n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
			if cells == 0 {
				cells = n
			}
			if n != cells {
				t.Errorf("%s:%d: %d cells, want %d", file, number, n-1, cells-1)
			}
		}
	}
}
