package importer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Supervisord is a supervisord.conf and what its import needs to know.
type Supervisord struct {
	Name string // of the file, for comments and errors
	Here string // the folder that it is in, which %(here)s means
	Text string

	// Include returns the files that a pattern of [include] means, in order: Name and
	// Text, Here for files in another folder. nil: none is read.
	Include func(pattern string) ([]Supervisord, error)
}

// Import writes the programs of the file as companions.
func (f Supervisord) Import() (Result, error) {
	im := &supervisordImport{file: f, scope: scope{text: map[string]string{"here": f.Here}}}
	sections, err := parseINI(f.Name, f.Text)
	if err != nil {
		return Result{}, err
	}
	im.comment("From %s.", f.Name)
	sections, err = im.include(sections)
	if err != nil {
		return Result{}, err
	}
	programs := 0
	for _, s := range sections {
		if s.kind == "program" || s.kind == "fcgi-program" {
			programs++
		}
	}
	if programs == 0 {
		return Result{}, errors.New("there is no [program:NAME] section")
	}
	im.settings(sections)
	im.blank()
	im.companionDefaults()
	for _, s := range sections {
		im.section(s)
	}
	return im.result(), nil
}

// supervisordImport is one import on its way.
type supervisordImport struct {
	document
	file  Supervisord
	scope scope
	names names
}

// include reads the files of [include] once; supervisord does not nest them either.
func (im *supervisordImport) include(sections []*section) ([]*section, error) {
	for _, s := range sections {
		if s.kind != "include" {
			continue
		}
		patterns, _ := s.take("files")
		for pattern := range strings.FieldsSeq(patterns) {
			expanded, err := im.scope.expand(pattern)
			if err != nil || im.file.Include == nil {
				im.notMapped("[include] %s: import these files, too", pattern)
				continue
			}
			files, err := im.file.Include(expanded)
			if err != nil {
				return nil, err
			}
			if len(files) == 0 {
				im.notMapped("[include] %s: there is no such file", pattern)
			}
			for _, f := range files {
				more, err := parseINI(f.Name, f.Text)
				if err != nil {
					return nil, err
				}
				im.comment("With %s.", f.Name)
				for _, m := range more {
					into := sectionOf(&sections, m.kind, m.name)
					into.options = append(into.options, m.options...)
				}
			}
		}
	}
	return sections, nil
}

// companionDefaults makes a program behave as it did where it does not say how.
func (im *supervisordImport) companionDefaults() {
	im.comment("What supervisord does with a program that does not say otherwise.")
	im.table("companion_defaults")
	im.set("autorestart", "on-failure", "")
	im.set("startretries", 3, "")
	im.set("backoff_reset", "1s", "its startretries count failures to start only")
	im.set("stop_timeout", "10s", "")
	im.set("reload_timeout", "10s", "")
	im.set("stop_group", false, "the signal; SIGKILL always reaches the whole group")
	im.set("no_new_privs", false, "\"auto\" is safer, where no program uses sudo and the like")
	im.set("stdout", "log", "")
	im.set("stderr", "log", "")
}

// settings writes what [supervisord] has for [server] and [log].
func (im *supervisordImport) settings(sections []*section) {
	i := slices.IndexFunc(sections, func(s *section) bool { return s.kind == "supervisord" })
	if i < 0 {
		return
	}
	s := sections[i]
	server, log := map[string]any{}, map[string]any{}
	move := func(to map[string]any, from, key string) {
		if value, ok := s.take(from); ok {
			if expanded, err := im.scope.expand(value); err != nil {
				im.notMapped("[supervisord] %s = %s: %v", from, value, err)
			} else if expanded != "" {
				to[key] = expanded
			}
		}
	}
	move(server, "pidfile", "pidfile")
	move(server, "directory", "chdir")
	move(server, "user", "user")
	if umask, ok := s.take("umask"); ok {
		im.umask(server, "[supervisord] ", umask)
	}
	if text, ok := s.take("environment"); ok {
		if env, err := im.environment(text, im.scope); err != nil {
			im.notMapped("[supervisord] environment: %v", err)
		} else if len(env) > 0 {
			server["env"] = env
		}
	}
	move(log, "logfile", "file")
	if server["user"] == "root" {
		delete(server, "user") // who may start it as root does
	}
	if file, _ := log["file"].(string); file == "/dev/null" {
		im.notMapped("[supervisord] logfile = /dev/null: the log goes to standard error, and what programs print with it")
		delete(log, "file")
	} else if standard(file) != "" || isNothing(file) {
		delete(log, "file") // standard error it is
	}
	if level, ok := s.take("loglevel"); ok {
		known := map[string]string{"critical": "error", "error": "error", "warn": "warn", "info": "info", "debug": "debug", "trace": "debug", "blather": "debug"}
		if l := known[strings.ToLower(level)]; l != "" {
			log["level"] = l
		} else {
			im.notMapped("[supervisord] loglevel = %s: it is no level", level)
		}
	}
	im.serverRest(s)
	for _, t := range []struct {
		name string
		keys map[string]any
	}{{"server", server}, {"log", log}} {
		if len(t.keys) == 0 {
			continue
		}
		im.blank()
		im.table(t.name)
		for _, key := range slices.Sorted(maps.Keys(t.keys)) {
			im.set(key, t.keys[key], "")
		}
	}
}

// serverRest comments on what is left of [supervisord].
func (im *supervisordImport) serverRest(s *section) {
	advice := map[string]string{
		"logfile_maxbytes": "rotate the log with logrotate and `gofork reopen`",
		"logfile_backups":  "rotate the log with logrotate and `gofork reopen`",
		"childlogdir":      "output goes to the log; name a file with stdout",
		"minfds":           "a limit for a program: rlimits = { nofile = N }",
		"minprocs":         "a limit for a program: rlimits = { nproc = N }",
		"identifier":       "name is the file's, or name = \"…\" at the top",
		"strip_ansi":       "output is kept as it is",
		"nocleanup":        "there are no log files to clean up",
	}
	for _, o := range s.options {
		switch o.key {
		case "nodaemon":
			if yes, ok := boolean(o.value); !ok || !yes {
				im.notMapped("[supervisord] nodaemon = %s: gofork serve stays in the foreground, as a unit or container wants it", o.value)
			}
		case "silent": // so is gofork
		default:
			im.leftOver("[supervisord] ", o, advice[o.key])
		}
	}
	s.options = nil
}

// leftOver comments on an option that has no counterpart. Passwords are not shown.
func (im *supervisordImport) leftOver(where string, o option, advice string) {
	value := strings.ReplaceAll(o.value, "\n", " ")
	if strings.Contains(o.key, "password") {
		value = "…"
	}
	if advice == "" {
		advice = "there is no such thing here"
	}
	im.notMapped("%s%s = %s: %s", where, o.key, value, advice)
}

// section writes what is neither [supervisord] nor [include].
func (im *supervisordImport) section(s *section) {
	switch s.kind {
	case "supervisord", "include":
	case "program", "fcgi-program":
		im.program(s)
	case "group":
		im.blank()
		programs, _ := s.take("programs")
		im.notMapped("[group:%s] of %s: there are no groups; name the companions, as in\n`gofork companion restart %s`",
			s.name, programs, strings.Join(strings.FieldsFunc(programs, func(r rune) bool { return strings.ContainsRune(", \n", r) }), " "))
	case "eventlistener":
		im.blank()
		command, _ := s.take("command")
		events, _ := s.take("events")
		im.notMapped("[eventlistener:%s] %s\nIt speaks supervisord's event protocol (events: %s). See `gofork events --json`\n"+
			"and the hooks companion_exit and companion_fatal.", s.name, command, events)
	case "unix_http_server", "inet_http_server":
		im.blank()
		advice := "the control socket is RUNTIME_DIR/NAME.sock, or [control] socket"
		if s.kind == "inet_http_server" {
			advice = "probes, metrics and a read-only API are at [admin] bind"
		}
		im.notMapped("[%s]: %s", s.kind, advice)
	case "supervisorctl", "rpcinterface", "ctlplugin":
		im.blank()
		im.notMapped("[%s]: `gofork companion` needs no setting, and the API is HTTP and JSON", header(s))
	default:
		im.blank()
		im.notMapped("[%s]: an unknown section", header(s))
	}
}

func header(s *section) string {
	if s.name == "" {
		return s.kind
	}
	return s.kind + ":" + s.name
}

// umask sets a mask, which supervisord reads as octal.
func (im *supervisordImport) umask(to map[string]any, where, value string) {
	n, err := strconv.ParseUint(strings.TrimPrefix(value, "0o"), 8, 32)
	if err != nil || n > 0o777 {
		im.notMapped("%sumask = %s: it is no octal number up to 777", where, value)
		return
	}
	to["umask"] = fmt.Sprintf("%#03o", n)
}

// environment reads KEY="value",KEY2='value2', as shlex does with its separators.
func (im *supervisordImport) environment(text string, sc scope) (map[string]any, error) {
	env := map[string]any{}
	rest := strings.TrimSpace(text)
	for rest != "" {
		name, after, ok := strings.Cut(rest, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.ContainsAny(name, "\"' \t\n,") {
			return nil, fmt.Errorf("%q is not NAME=\"VALUE\"", name)
		}
		value, left, err := environmentValue(strings.TrimLeft(after, " \t\n"))
		if err != nil {
			return nil, fmt.Errorf("the value of %s: %w", name, err)
		}
		if env[name], err = sc.expand(value); err != nil {
			return nil, fmt.Errorf("the value of %s: %w", name, err)
		}
		rest = strings.TrimLeft(left, " \t\n")
		if rest != "" && rest[0] != ',' {
			return nil, fmt.Errorf("something follows the value of %s: quote it", name)
		}
		rest = strings.TrimLeft(rest, ", \t\n")
	}
	return env, nil
}

// environmentValue reads a quoted value, or one up to the next comma.
func environmentValue(s string) (value, rest string, err error) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		i := strings.IndexAny(s, ",\n")
		if i < 0 {
			i = len(s)
		}
		return strings.TrimSpace(s[:i]), s[i:], nil
	}
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return b.String(), s[i+1:], nil
		case s[i] == '\\' && quote == '"' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", errQuote
}

// boolean reads what supervisord takes for one.
func boolean(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1", "t", "y":
		return true, true
	case "false", "no", "off", "0", "f", "n":
		return false, true
	}
	return false, false
}

func isNothing(path string) bool { return strings.EqualFold(path, "none") }

// standard is the stream of supervisord itself that a path means, "" for a file.
func standard(path string) string {
	switch path {
	case "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		return "stdout"
	case "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2":
		return "stderr"
	}
	return ""
}
