package config

import (
	"errors"
	"fmt"
	"strings"
)

// maxExpanded bounds what references make of a value: in an env file they can name the
// lines above, and double them with each line. No system takes a longer one.
const maxExpanded = 1 << 20

// expand replaces references by variables of gofork's own environment.
func (r *reader) expand(s string) (string, error) { return expand(s, r.environ) }

// expand replaces ${VAR} and ${VAR:-default} by variables of environ.
// $${ is a literal ${; any other $ stays as it is. Errors never show a value.
func expand(s string, environ map[string]string) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		inside, rest, closed := strings.Cut(s[i+2:], "}")
		if !closed {
			return "", errors.New(`a "${" without "}" (write $${ for a literal one)`)
		}
		name, fallback, hasFallback := strings.Cut(inside, ":-")
		if !isVariable(name) {
			return "", errors.New(`"${" must be followed by the name of a variable (write $${ for a literal one)`)
		}
		if strings.Contains(fallback, "${") {
			return "", fmt.Errorf("the default of ${%s} must not contain another variable", name)
		}
		value, isSet := environ[name]
		switch {
		case hasFallback && value == "":
			value = fallback
		case !isSet:
			return "", fmt.Errorf("the variable %s is not set (write ${%s:-default} to allow that)", name, name)
		}
		if b.Len()+len(value) > maxExpanded {
			return "", fmt.Errorf("must not become longer than %d MiB", maxExpanded>>20)
		}
		b.WriteString(value)
		s = rest
	}
}

// expandAt expands a value that may be shown.
func (r *reader) expandAt(at, s string) (any, bool) {
	expanded, err := r.expand(s)
	if err == nil && strings.IndexByte(expanded, 0) >= 0 {
		err = errors.New("must not contain a NUL byte")
	}
	if err != nil {
		return nil, r.bad(at, s, err.Error())
	}
	return expanded, true
}

func isVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '_' && !isLetterOrDigit(c) || i == 0 && '0' <= c && c <= '9' {
			return false
		}
	}
	return name != ""
}
