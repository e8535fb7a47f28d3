package importer

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/gofork/gofork/pkg/config"
)

// most is how many companions a program is split into when its processes differ.
const most = 100

// program writes a [program:NAME] as one companion, or as one for each process when
// these differ by more than their name.
func (im *supervisordImport) program(s *section) {
	p := &program{im: im, section: s, where: "[" + header(s) + "] "}
	im.blank()
	p.count(s)
	differ := false
	for _, o := range s.options {
		differ = differ || o.key != "process_name" && usesNumber(o.value)
	}
	if !differ || p.numprocs == 1 {
		p.write(p.first, "")
		return
	}
	if p.numprocs > most {
		im.notMapped("%s%d processes that differ by %%(process_num): only the first %d are here", p.where, p.numprocs, most)
	}
	split := min(p.numprocs, most)
	p.split = true
	im.comment("%s has processes that differ by %%(process_num): a companion for each.", s.name)
	options := s.options
	for i := range split {
		if i > 0 {
			im.blank()
		}
		s.options = slices.Clone(options)
		p.write(p.first+i, fmt.Sprintf("-%d", p.first+i))
	}
}

// program is a section on its way to a companion.
type program struct {
	im       *supervisordImport
	section  *section
	where    string // for comments
	numprocs int
	first    int  // number of the first process
	split    bool // each process is a companion of its own
	scope    scope
	keys     []setting
	notes    []option // options that cannot be mapped; the value is the reason
}

type setting struct {
	key    string
	value  any
	remark string
}

func (p *program) set(key string, value any, remark string) {
	p.keys = append(p.keys, setting{key, value, remark})
}

func (p *program) note(key, format string, args ...any) {
	p.notes = append(p.notes, option{key, fmt.Sprintf(format, args...)})
}

// take is an option with its variables expanded.
func (p *program) take(key string) (string, bool) {
	value, ok := p.section.take(key)
	if !ok {
		return "", false
	}
	expanded, err := p.scope.expand(value)
	if err != nil {
		p.note(key, "%s: %v", value, err)
		return "", false
	}
	return expanded, true
}

// count reads how many processes there are.
func (p *program) count(s *section) {
	p.numprocs = 1
	number := func(key string, to *int, least int) {
		if value, ok := s.take(key); ok {
			n, err := strconv.Atoi(value)
			if err != nil || n < least || n > 1000 {
				p.im.notMapped("%s%s = %s: it must be a number from %d to 1000", p.where, key, value, least)
				return
			}
			*to = n
		}
	}
	number("numprocs", &p.numprocs, 1)
	number("numprocs_start", &p.first, 0)
}

// write writes the companion of process number n.
func (p *program) write(n int, suffix string) {
	s := p.section
	p.keys, p.notes = nil, nil
	p.scope = scope{
		text: map[string]string{
			"here": p.im.file.Here, "program_name": s.name, "group_name": s.name, "process_name": s.name + suffix,
		},
		numbers: map[string]int{"process_num": n, "numprocs": p.numprocs},
	}
	name := p.im.names.companion(s.name + suffix)
	if suffix == "" && name != s.name {
		p.im.comment("called %s before", s.name)
	}
	p.command()
	if p.numprocs > 1 && !p.split {
		p.set("numprocs", p.numprocs, "GOFORK_INSTANCE is 1, 2 … in them")
	}
	p.start()
	p.stop()
	p.surroundings()
	p.output()
	p.rest()
	if p.split && n > p.first {
		p.notes = nil // the first has them
	}
	for _, note := range p.notes {
		p.im.notMapped("%s%s = %s", p.where, note.key, note.value)
	}
	p.im.table("companion." + name)
	for _, k := range p.keys {
		p.im.set(k.key, k.value, k.remark)
	}
}

// command is split as supervisord does it: no shell.
func (p *program) command() {
	raw, ok := p.section.take("command")
	if !ok {
		p.note("command", "(none): a program without a command; this one does nothing, and does it well")
		p.set("command", []string{"true"}, "")
		return
	}
	words, err := split(strings.ReplaceAll(raw, "\n", " "))
	for i := range words {
		if err == nil {
			words[i], err = p.scope.expand(words[i])
		}
	}
	if err == nil && (len(words) == 0 || words[0] == "") {
		err = fmt.Errorf("names no program")
	}
	if err != nil {
		p.note("command", "%s: %v", raw, err)
		words = []string{"sh", "-c", config.Literal(strings.ReplaceAll(raw, "\n", " "))}
		p.section.take("autostart")
		p.set("autostart", false, "until its command is right")
	}
	remark := ""
	if strings.Contains(raw, "%(ENV_") {
		remark = "a variable does not become several words"
	}
	p.set("command", words, remark)
}

// start is when it starts, and starts again.
func (p *program) start() {
	if p.section.kind == "fcgi-program" {
		p.section.take("autostart")
		// Of a command that is wrong a comment tells already.
		p.keys = slices.DeleteFunc(p.keys, func(k setting) bool { return k.key == "autostart" })
		p.set("autostart", false, "until it opens its socket itself: a companion is handed none")
	} else {
		p.boolean("autostart", "autostart", true)
	}
	if value, ok := p.take("autorestart"); ok {
		on, isBool := boolean(value)
		switch {
		case strings.EqualFold(value, "unexpected"):
		case isBool && on:
			p.set("autorestart", "always", "")
		case isBool:
			p.set("autorestart", "never", "")
		default:
			p.note("autorestart", "%s: it must be true, false or unexpected", value)
		}
	}
	if value, ok := p.take("exitcodes"); ok {
		p.codes(value)
	}
	if n, ok := p.number("startsecs"); ok && n != 1 {
		p.set("startsecs", seconds(n), "")
		p.set("backoff_reset", seconds(n), "")
	}
	if n, ok := p.number("startretries"); ok && n != 3 {
		switch n {
		case 0:
			p.set("startretries", 1, "not at all is not possible: 0 means for ever")
		default:
			p.set("startretries", n, "")
		}
	}
}

func (p *program) codes(value string) {
	var codes []any
	for part := range strings.SplitSeq(value, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 0 || n > 255 {
			p.note("exitcodes", "%s: it must be numbers from 0 to 255", value)
			return
		}
		codes = append(codes, n)
	}
	if len(codes) != 1 || codes[0] != 0 {
		p.set("success_codes", codes, "")
	}
}

// stop is how it stops.
func (p *program) stop() {
	if value, ok := p.take("stopsignal"); ok && value != "" {
		sig, err := config.ParseSignal(value)
		switch {
		case err != nil, sig == syscall.SIGSTOP:
			p.note("stopsignal", "%s: it is no signal here", value)
		case sig == syscall.SIGTERM:
		default:
			p.set("stop_signal", strings.ToUpper(value), "")
		}
	}
	if n, ok := p.number("stopwaitsecs"); ok && n != 10 {
		p.set("stop_timeout", seconds(n), "")
		p.set("reload_timeout", seconds(n), "")
	}
	p.boolean("stopasgroup", "stop_group", false)
	if value, ok := p.take("killasgroup"); ok {
		if on, isBool := boolean(value); !isBool {
			p.note("killasgroup", "%s: it must be true or false", value)
		} else if asGroup := p.has("stop_group"); !on && asGroup {
			p.note("killasgroup", "%s: SIGKILL always reaches the whole group", value)
		}
	}
}

func (p *program) has(key string) bool {
	for _, k := range p.keys {
		if k.key == key {
			return true
		}
	}
	return false
}

// surroundings are user, directory, umask and environment.
func (p *program) surroundings() {
	if value, ok := p.take("user"); ok && value != "" {
		p.set("user", value, "")
	}
	if value, ok := p.take("directory"); ok && value != "" {
		p.set("cwd", value, "")
	}
	if value, ok := p.take("umask"); ok && value != "" {
		to := map[string]any{}
		p.im.umask(to, p.where, value)
		if mask, ok := to["umask"]; ok {
			p.set("umask", mask, "")
		}
	}
	if text, ok := p.section.take("environment"); ok {
		env, err := p.im.environment(text, p.scope)
		if err != nil {
			p.note("environment", "(not shown): %v", err)
		} else if len(env) > 0 {
			p.set("env", env, "")
		}
	}
}

// rest comments on what is left.
func (p *program) rest() {
	advice := map[string]string{
		"process_name":            "instances are called NAME, NAME:2, NAME:3 …",
		"priority":                "companions start and stop at the same time",
		"serverurl":               "a companion finds the control socket by `gofork -s`",
		"socket":                  "a companion gets no socket: let it open its own",
		"socket_backlog":          "a companion gets no socket",
		"socket_owner":            "a companion gets no socket",
		"socket_mode":             "a companion gets no socket",
		"stdout_syslog":           "stdout = \"log\" goes where gofork's log goes",
		"stderr_syslog":           "stderr = \"log\" goes where gofork's log goes",
		"stdout_capture_maxbytes": "nothing is captured out of the output",
		"stderr_capture_maxbytes": "nothing is captured out of the output",
		"stdout_events_enabled":   "output makes no events; `gofork logs -f NAME` follows it",
		"stderr_events_enabled":   "output makes no events; `gofork logs -f NAME` follows it",
	}
	for _, o := range p.section.options {
		value := strings.ReplaceAll(o.value, "\n", " ")
		on, isBool := boolean(value)
		switch {
		case value == "", isBool && !on && strings.HasSuffix(o.key, "_enabled"), isBool && !on && strings.HasSuffix(o.key, "_syslog"),
			value == "0" && strings.HasSuffix(o.key, "_maxbytes"),
			o.key == "priority" && value == "999",
			o.key == "process_name" && (value == "%(program_name)s" || usesNumber(value)):
			continue // what happens anyway
		}
		p.note(o.key, "%s: %s", value, cmp.Or(advice[o.key], "there is no such thing here"))
	}
}

// boolean takes a switch that has another default here than what is usual.
func (p *program) boolean(from, key string, usual bool) {
	value, ok := p.take(from)
	if !ok {
		return
	}
	on, isBool := boolean(value)
	if !isBool {
		p.note(from, "%s: it must be true or false", value)
	} else if on != usual {
		p.set(key, on, "")
	}
}

func (p *program) number(key string) (int, bool) {
	value, ok := p.take(key)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > 1<<20 {
		p.note(key, "%s: it is no number that can be", value)
		return 0, false
	}
	return n, true
}

func seconds(n int) string { return strconv.Itoa(n) + "s" }
