package config

import (
	"errors"
	"fmt"
	"maps"
	"strings"
)

// dotenv reads a file of NAME=VALUE lines:
//
//   - "export" before a name and spaces around it are allowed, and ":" for "=".
//   - Empty lines, and what stands behind a "#" at the beginning of a line, after a space or
//     after a closing quote, are left out.
//   - 'VALUE' is taken as it is. "VALUE" has \n and \r, and a backslash makes any other
//     character literal; VALUE ends with its line. In both of these ${NAME} and
//     ${NAME:-default} are expanded as in an env value, from the lines above before the
//     environment, and \$ is a literal $. Quoted values may have several lines.
//
// Libraries for this format give a map: neither the order of the names nor the quotes can
// be known from it, and both decide what is expanded.
type dotenv struct {
	text string
	rest string            // of text
	vars map[string]string // of the lines so far, over the environment
	file map[string]string // of the lines so far
	size int               // of their values
}

const (
	blanks      = " \t\v\f"
	plainDollar = "\x00" // stands for a $ that begins no reference; the file has no NUL
)

func parseEnvFile(text string, environ map[string]string) (map[string]string, error) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	d := &dotenv{text: text, rest: text, vars: maps.Clone(environ), file: map[string]string{}}
	if d.vars == nil {
		d.vars = map[string]string{}
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return nil, fmt.Errorf("line %d has a NUL byte", d.lineAt(i))
	}
	for d.next() {
		at := len(text) - len(d.rest)
		if err := d.assignment(); err != nil {
			return nil, fmt.Errorf("line %d %w", d.lineAt(at), err)
		}
	}
	return d.file, nil
}

func (d *dotenv) lineAt(offset int) int { return 1 + strings.Count(d.text[:offset], "\n") }

// next goes to the next assignment. It reports false at the end.
func (d *dotenv) next() bool {
	for {
		d.rest = strings.TrimLeft(d.rest, blanks+"\r\n")
		if !strings.HasPrefix(d.rest, "#") {
			return d.rest != ""
		}
		_, d.rest, _ = strings.Cut(d.rest, "\n")
	}
}

func (d *dotenv) assignment() error {
	sign := strings.IndexAny(d.rest, "=:\n")
	if sign < 0 || d.rest[sign] == '\n' {
		return errors.New("is not NAME=VALUE")
	}
	name := strings.Trim(d.rest[:sign], blanks)
	if after, ok := strings.CutPrefix(name, "export"); ok && strings.TrimLeft(after, blanks) != after {
		name = strings.TrimLeft(after, blanks)
	}
	if !isDotenvName(name) {
		return errors.New("is not NAME=VALUE")
	}
	d.rest = d.rest[sign+1:]
	value, err := d.value()
	if err != nil {
		return err
	}
	if d.size += len(value); d.size > maxEnvFile {
		return fmt.Errorf("makes all values together longer than %d MiB", maxEnvFile>>20)
	}
	d.file[name], d.vars[name] = value, value
	return nil
}

func isDotenvName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isLetterOrDigit(c) && c != '_' && c != '.' {
			return false
		}
	}
	return name != ""
}

// value takes what belongs to a value off the rest.
func (d *dotenv) value() (string, error) {
	quoted := strings.TrimLeft(d.rest, blanks)
	var value string
	switch {
	case strings.HasPrefix(quoted, "'"):
		var ok bool
		if value, ok = d.quoted(quoted[1:], '\''); !ok {
			return "", errors.New("has a quote that is not closed")
		}
		return value, d.closed()
	case strings.HasPrefix(quoted, `"`):
		var ok bool
		if value, ok = d.quoted(quoted[1:], '"'); !ok {
			return "", errors.New("has a quote that is not closed")
		}
		if err := d.closed(); err != nil {
			return "", err
		}
		value = unescape(value)
	default:
		value = strings.ReplaceAll(d.unquoted(), `\$`, plainDollar)
	}
	value, err := expand(value, d.vars)
	if err != nil {
		return "", fmt.Errorf("cannot be expanded: %w", err)
	}
	return strings.ReplaceAll(value, plainDollar, "$"), nil
}

// quoted takes text up to a quote that has no backslash.
func (d *dotenv) quoted(text string, quote byte) (string, bool) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case quote:
			d.rest = text[i+1:]
			return text[:i], true
		}
	}
	return "", false
}

// closed refuses text that a shell would take as part of the value.
func (d *dotenv) closed() error {
	if d.rest != "" && !strings.ContainsRune(blanks+"\r\n#", rune(d.rest[0])) {
		return errors.New("has something right behind a closing quote")
	}
	return nil
}

// unquoted takes the rest of the line, without a comment.
func (d *dotenv) unquoted() string {
	end := strings.IndexAny(d.rest, "\r\n")
	if end < 0 {
		end = len(d.rest)
	}
	value := d.rest[:end]
	d.rest = d.rest[end:]
	for i := 1; i < len(value); i++ {
		if value[i] == '#' && strings.IndexByte(blanks, value[i-1]) >= 0 {
			value = value[:i]
		}
	}
	return strings.Trim(value, blanks)
}

// unescape reads the backslashes of a value in double quotes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			i++
			switch c = s[i]; c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case '$':
				c = plainDollar[0]
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}
