package importer

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/gofork/gofork/pkg/config"
)

// scope is what %(NAME)s means at one place of a supervisord.conf.
type scope struct {
	text    map[string]string // "program_name", "here" …
	numbers map[string]int    // "process_num" …
}

// expand replaces %(NAME)s and %(NAME)02d. A variable of the environment becomes
// gofork's own form, ${NAME}; whatever looked like that before is kept from it.
func (sc scope) expand(s string) (string, error) {
	form := regexp.MustCompile(`^%\(([^)]*)\)([-+ 0]*)([0-9]{0,3})([sdi])`)
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			b.WriteString(config.Literal(s))
			break
		}
		b.WriteString(config.Literal(s[:i]))
		s = s[i:]
		if strings.HasPrefix(s, "%%") {
			b.WriteByte('%')
			s = s[2:]
			continue
		}
		m := form.FindStringSubmatch(s)
		if m == nil {
			return "", fmt.Errorf("%q is neither %%%% nor %%(NAME)s", s[:min(len(s), 20)])
		}
		s = s[len(m[0]):]
		value, err := sc.value(m[1], m[2], m[3], m[4])
		if err != nil {
			return "", err
		}
		if strings.HasSuffix(b.String(), "$") && (strings.HasPrefix(value, "{") || strings.HasPrefix(value, "${")) {
			return "", fmt.Errorf("a $ stands before %s, which cannot be written here", m[0])
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// value formats one name as Python's % operator does.
func (sc scope) value(name, flags, width, verb string) (string, error) {
	if variable, ok := strings.CutPrefix(name, "ENV_"); ok {
		if !isVariable(variable) {
			return "", fmt.Errorf("%q is not the name of a variable", variable)
		}
		return "${" + variable + "}", nil
	}
	if n, ok := sc.numbers[name]; ok {
		if verb == "s" {
			return strconv.Itoa(n), nil
		}
		return fmt.Sprintf("%"+flags+width+"d", n), nil
	}
	text, ok := sc.text[name]
	if !ok || verb != "s" {
		return "", fmt.Errorf("%%(%s)%s has no value here", name, verb)
	}
	return config.Literal(text), nil
}

// usesNumber reports whether a value differs from one process to the next.
func usesNumber(s string) bool { return strings.Contains(s, "%(process_num)") }
