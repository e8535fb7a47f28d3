package importer

import (
	"cmp"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofork/gofork/pkg/config"
)

// output is where standard output and error go, and their rotation, which is one
// for both here.
func (p *program) output() {
	file, _ := p.peek("stdout_logfile")
	other, apart := p.peek("stderr_logfile")
	p.stream("stdout", true)
	joined := apart && other == file && filepath.IsAbs(file) && standard(file) == ""
	if value, ok := p.take("redirect_stderr"); ok {
		on, isBool := boolean(value)
		if !isBool {
			p.note("redirect_stderr", "%s: it must be true or false", value)
		}
		joined = joined || isBool && on
	}
	if !joined {
		p.stream("stderr", !p.has("log_max_size"))
		return
	}
	p.set("stderr", "stdout", "")
	for _, key := range []string{"stderr_logfile", "stderr_logfile_maxbytes", "stderr_logfile_backups"} {
		p.section.take(key)
	}
}

// peek is an option as it stands in the file.
func (p *program) peek(key string) (value string, found bool) {
	for _, o := range p.section.options {
		if o.key == key {
			value, found = o.value, true
		}
	}
	return value, found
}

func (p *program) stream(name string, rotates bool) {
	file, ok := p.take(name + "_logfile")
	size, sized := p.take(name + "_logfile_maxbytes")
	backups, counted := p.number(name + "_logfile_backups")
	if !ok || file == "" || strings.EqualFold(file, "auto") {
		return
	}
	switch {
	case isNothing(file):
		p.set(name, "null", "")
		return
	case standard(file) != "":
		p.set(name, "inherit", "")
		if standard(file) != name {
			p.note(name+"_logfile", "%s: it goes to gofork's own %s", file, name)
		}
		return
	case strings.EqualFold(file, "syslog"):
		p.note(name+"_logfile", "syslog: it goes to gofork's log, and from there where that goes")
		return
	}
	p.set(name, file, "")
	bytes := int64(50 << 20) // supervisord's default
	if sized {
		n, valid := sizeOf(size)
		if !valid {
			p.note(name+"_logfile_maxbytes", "%s: it is no size", size)
		} else {
			bytes = n
		}
	}
	if !rotates {
		if sized || counted {
			p.note(name+"_logfile_maxbytes", "%s: log_max_size holds for both files", cmp.Or(size, "50MB"))
		}
		return
	}
	if bytes > 0 {
		p.set("log_max_size", config.FormatSize(bytes), "")
	}
	if counted && backups != 10 {
		p.set("log_backups", backups, "")
	}
}

// sizeOf reads supervisord's sizes: KB, MB and GB are powers of 1024.
func sizeOf(s string) (int64, bool) {
	s = strings.ToUpper(strings.TrimSpace(s))
	shift := 0
	for unit, by := range map[string]int{"KB": 10, "MB": 20, "GB": 30} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			s, shift = strings.TrimSpace(rest), by
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<50>>shift {
		return 0, false
	}
	return n << shift, true
}
