//go:build linux

package test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/languages.md says of each server what the tests have shown of it, has a
// section with its name, and names a file that is there.
func TestLanguagesPageSaysWhatTheTestsShow(t *testing.T) {
	t.Parallel()
	page := readFile(t, filepath.Join(repository(t), "docs", "languages.md"))
	_, table, _ := strings.Cut(page, "\n## What each can do\n")
	table, _, _ = strings.Cut(table, "\n## ")
	readyAfter := regexp.MustCompile(`(?m)^ready_after = "(\d+)ms"`)
	found := map[string][]string{}
	for _, row := range rows(table) {
		if m := regexp.MustCompile(`\(\.\./configs/(?:apps/)?([a-z-]+)\.toml\)`).FindStringSubmatch(row[1]); m != nil {
			found[m[1]] = row
		}
	}
	yes := func(cell string) bool { return strings.HasPrefix(cell, "yes") || strings.HasPrefix(cell, "by ") }
	for name, a := range apps {
		row := found[name]
		if len(row) != 9 {
			t.Errorf("the table has no row for %s, or not of nine cells: %q", name, row)
			continue
		}
		delete(found, name)
		file := a.file
		if file == "" {
			file = filepath.Join("apps", name+".toml")
		}
		boot := "says so"
		if m := readyAfter.FindStringSubmatch(readFile(t, shipped(t, file))); !a.notifies && m != nil {
			boot = m[1] + " ms up"
		}
		if row[3] != boot {
			t.Errorf("%s boots %q, and the file says %s", name, row[3], boot)
		}
		if yes(row[4]) != a.notifies || yes(row[5]) != a.beats || strings.HasPrefix(row[6], "nothing") == a.crosses {
			t.Errorf("%s is %q; the tests have READY=1 %t, a heartbeat %t, lost requests %t", name, row, a.notifies, a.beats, a.crosses)
		}
	}
	for name := range found {
		t.Errorf("the table has a row for %s, which is not tested", name)
	}
}
