//go:build ignore

// Command gen writes docs/keys.md, the page of all configuration keys, from the
// key table of package config to standard output:
//
//	go run docs/gen/main.go > docs/keys.md
//
// It is no part of the module's build, so that the program stays free of an
// import that only the documentation needs.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/gofork/gofork/pkg/config"
)

const head = `# Every key

<!-- Written by docs/gen: go generate ./docs/gen. Do not edit. -->

This page is made from the table by which gofork itself reads its file. A key that
is not on it is an error. How values from the file, the environment and the command
line come together is in [the guide](guide.md#configuration).

How values are written:

| type | written as |
|---|---|
| duration | a string with units (` + "`\"30s\"`, `\"5m\"`, `\"1h30m\"`" + `) or a number of seconds |
| size | a string (` + "`\"512MiB\"`, `\"64KiB\"`, `\"10MB\"`" + `) or a number of bytes |
| signal | a name with or without ` + "`SIG`" + `, or a number |
| command | an array of words, or a string that is split into words with quotes; never given to a shell |
| argv | an array of words |
| octal | a string of octal digits, ` + "`\"0660\"`" + ` |
| output | one of the words, or a path that is appended to |
| environment | a table of names and values |
| rlimits | a table; each value is a number, ` + "`\"unlimited\"`, or `\"SOFT:HARD\"`" + ` |
| user | a name or a number |
| surge | a number, or a percentage such as ` + "`\"25%\"`" + ` |

Marks: **H** only with worker.handler, refused beside worker.command. **own** only in a
companion itself, not in ` + "`[companion_defaults]`" + `.

Relative paths start at server.chdir, else where gofork was started.
` + "`${VAR}` and `${VAR:-default}`" + ` are expanded in env values, paths, cwd, unix socket
addresses and the words of commands.
`

// about says what a table is for, in the order of the page.
var about = map[string]string{
	"":            "Above every table.",
	"server":      "The arbiter, and what all children have in common.",
	"worker":      "The web tier. Without this table nothing is bound, and only companions run.",
	"worker.http": "The HTTP server of handler workers.",
	"manager":     "The process that looks after the companions.",
	"companion":   "One table `[companion.NAME]` each. `[companion_defaults]` takes the same keys but those marked **own**; a companion's key replaces that of the defaults, and the tables env, options and rlimits merge name by name. NAME is 1 to 64 letters, digits, `_` or `-`, the first a letter or digit.",
	"log":         "The log of gofork itself.",
	"control":     "The unix socket on which `gofork status` and the other clients ask.",
	"admin":       "An HTTP address for probes and metrics.",
	"hooks":       "Commands that gofork runs when something happens. See [operations](operations.md#hooks).",
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	fmt.Fprint(out, head)
	table := "\x00"
	for _, k := range config.Keys() {
		if k.Table != table {
			table = k.Table
			fmt.Fprintf(out, "\n## %s\n\n%s\n\n| key | type | default | meaning |\n|---|---|---|---|\n", title(table), about[table])
		}
		fmt.Fprintf(out, "| `%s` | %s | %s | %s |\n", k.Name, kind(k), value(k), meaning(k))
	}
}

func title(table string) string {
	switch table {
	case "":
		return "Top level"
	case "companion":
		return "[companion.NAME]"
	default:
		return "[" + table + "]"
	}
}

// kind is the type with what bounds it.
func kind(k config.Key) string {
	text := strings.ReplaceAll(string(k.Kind), "_", " ")
	if k.Kind == config.KindTristate {
		text = "bool"
	}
	var words []string
	for _, w := range k.Enum {
		words = append(words, "`\""+w+"\"`")
	}
	switch {
	case k.Kind == config.KindString && len(words) > 0:
		text = strings.Join(words, ", ")
	case len(words) > 0:
		text += " or " + strings.Join(words, ", ")
	}
	switch {
	case k.Kind == config.KindSize && k.Min > 0:
		text += ", from " + humanize.IBytes(uint64(k.Min))
	case k.Above:
		text += ", above 0"
	case k.Max > 0 && k.Kind != config.KindSize:
		text += ", " + number(k.Min) + " to " + number(k.Max)
	}
	return text
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// value is the default as it would stand in a file.
func value(k config.Key) string {
	if k.Default == nil || k.Default == "" {
		return ""
	}
	b, err := json.Marshal(k.Default)
	if err != nil {
		panic(err)
	}
	return "`" + strings.ReplaceAll(string(b), ",", ", ") + "`"
}

func meaning(k config.Key) string {
	text := strings.ReplaceAll(k.Doc, "|", `\|`)
	if k.Handler {
		text += " **H**"
	}
	if k.Own {
		text += " **own**"
	}
	return text
}
