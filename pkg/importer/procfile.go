package importer

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/gofork/gofork/pkg/config"
)

// entry is one line of a Procfile.
type entry struct{ name, command string }

// Procfile imports a Procfile as foreman, honcho and Heroku read it: NAME: COMMAND
// lines. source is what the comments call it.
func Procfile(source, text string) (Result, error) {
	d := &document{}
	entries, ignored := readProcfile(text)
	if len(entries) == 0 {
		return Result{}, errors.New("no line is NAME: COMMAND")
	}
	d.comment("From %s. Commands that need a shell get one; all others are run as they are.", source)
	d.comment("Variables of a .env file: env_file = [\".env\"] in a [server] table.")
	for _, line := range ignored {
		d.notMapped("%q, which is not NAME: COMMAND", line)
	}
	var taken names
	for _, e := range entries {
		d.blank()
		if e.name == "release" {
			d.notMapped("release: %s\nIt runs once before a new version starts: run it before `gofork reload`, or write\n"+
				"[hooks]\non_starting = %s", e.command, commandValue(e.command))
			continue
		}
		name := taken.companion(e.name)
		if name != e.name {
			d.comment("called %s before", e.name)
		}
		if e.name == "web" {
			d.web(e.command)
		}
		d.table("companion." + name)
		d.set("command", commandOf(e.command), "")
		if e.name == "web" {
			d.set("env", map[string]any{"PORT": "${PORT:-5000}"}, "")
		}
		d.set("stdout", "log", "")
		d.set("stderr", "log", "")
	}
	if len(taken.taken) == 0 {
		return Result{}, errors.New("there is nothing that keeps running")
	}
	return d.result(), nil
}

// web says how the web process becomes the web tier.
func (d *document) web(command string) {
	d.comment("web opens PORT itself so far. As the web tier, with several processes, reloads\n"+
		"without a lost request and a heartbeat, its command takes the socket that gofork\n"+
		"opened, descriptor 3 (gunicorn and puma find it themselves; uvicorn --fd 3; node\n"+
		"listen({fd: 3})), instead of $PORT. PORT in the environment counts as :PORT then:\n"+
		"\n[worker]\ncommand = %s", commandValue(command))
}

// readProcfile returns the entries in their order, of equal names the last, and the
// lines that are none.
func readProcfile(text string) (entries []entry, ignored []string) {
	form := regexp.MustCompile(`^([A-Za-z0-9_-]+):\s*(.*\S)\s*$`)
	text = strings.TrimPrefix(strings.ToValidUTF8(text, "\uFFFD"), "\uFEFF")
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		line = strings.TrimSpace(line)
		m := form.FindStringSubmatch(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case m == nil:
			ignored = append(ignored, line)
		default:
			same := func(e entry) bool { return e.name == m[1] }
			if i := slices.IndexFunc(entries, same); i >= 0 {
				ignored = append(ignored, entries[i].name+": "+entries[i].command)
				entries = slices.Delete(entries, i, i+1)
			}
			entries = append(entries, entry{m[1], m[2]})
		}
	}
	return entries, ignored
}

// commandOf is argv: through a shell when only that can carry it out.
func commandOf(command string) []string {
	command = strings.ReplaceAll(command, "\x00", " ")
	words, err := split(command)
	if err != nil || len(words) == 0 || words[0] == "" || needsShell(command) {
		words = []string{"sh", "-c", command}
	}
	for i := range words {
		words[i] = config.Literal(words[i])
	}
	return words
}

// commandValue is commandOf as TOML.
func commandValue(command string) string { return config.FormatValue(commandOf(command)) }
