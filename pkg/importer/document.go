package importer

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/gofork/gofork/pkg/config"
)

// Result is what an import gives.
type Result struct {
	TOML     string
	Unmapped int // how many comments say "not mapped"
}

// document is a TOML file that grows from top to bottom.
type document struct {
	text     strings.Builder
	unmapped int
}

func (d *document) result() Result { return Result{TOML: d.text.String(), Unmapped: d.unmapped} }

// comment writes lines of a comment. What a file says may go in: no character of it
// can end the comment.
func (d *document) comment(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		d.text.WriteString(strings.TrimRight("# "+printable(line), " ") + "\n")
	}
}

// notMapped is a comment on what has no counterpart.
func (d *document) notMapped(format string, args ...any) {
	d.unmapped++
	d.comment("not mapped: "+format, args...)
}

func (d *document) table(name string) { fmt.Fprintf(&d.text, "[%s]\n", name) }

func (d *document) blank() { d.text.WriteString("\n") }

// set writes a key; remark is put behind it.
func (d *document) set(key string, value any, remark string) {
	line := key + " = " + config.FormatValue(value)
	if remark != "" {
		line = fmt.Sprintf("%-30s # %s", line, printable(remark))
	}
	d.text.WriteString(line + "\n")
}

// printable replaces what TOML does not allow in a comment.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// names gives each program the name of a companion, and no two the same.
type names struct{ taken map[string]bool }

// companion returns a valid name that is like the given one.
func (n *names) companion(name string) string {
	valid := regexp.MustCompile(`[^A-Za-z0-9_-]+`).ReplaceAllString(name, "-")
	valid = strings.TrimLeft(valid, "-_")
	if valid == "" {
		valid = "program"
	}
	const longest = 64
	valid = valid[:min(len(valid), longest)]
	if n.taken == nil {
		n.taken = map[string]bool{}
	}
	unique := valid
	for i := 2; n.taken[unique]; i++ {
		suffix := fmt.Sprintf("-%d", i)
		unique = valid[:min(len(valid), longest-len(suffix))] + suffix
	}
	n.taken[unique] = true
	return unique
}
