package importer

import (
	"fmt"
	"regexp"
	"strings"
)

// section is one [kind:name] of an INI file.
type section struct {
	kind, name string
	options    []option
}

type option struct{ key, value string }

// take returns an option and removes it, so that what is left at the end is what
// nobody knew. Of equal keys the last counts.
func (s *section) take(key string) (string, bool) {
	value, found := "", false
	rest := s.options[:0]
	for _, o := range s.options {
		if o.key == key {
			value, found = o.value, true
			continue
		}
		rest = append(rest, o)
	}
	s.options = rest
	return value, found
}

// parseINI reads a file as Python's configparser does for supervisord: "key = value"
// or "key: value", continuation lines that are indented, ";" and "#" for comments,
// within a line only after a space. Sections of the same name are one.
func parseINI(file, text string) ([]*section, error) {
	var sections []*section
	var current *section
	header := regexp.MustCompile(`^\[([^\]]+)\]`)
	inline := regexp.MustCompile(`(^|\s)[;#].*$`)
	text = strings.TrimPrefix(strings.ToValidUTF8(text, "\uFFFD"), "\uFEFF")
	indent, open := 0, false // of the key whose value may go on
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if strings.IndexByte(line, 0) >= 0 {
			return nil, fmt.Errorf("%s:%d: has a NUL byte", file, number)
		}
		if first := strings.TrimSpace(line); first == "" || first[0] == ';' || first[0] == '#' {
			continue
		}
		line = strings.TrimRight(inline.ReplaceAllString(line, ""), " \t")
		depth := len(line) - len(strings.TrimLeft(line, " \t"))
		line = strings.TrimSpace(line)
		if open && depth > indent {
			last := &current.options[len(current.options)-1]
			last.value = strings.TrimSpace(last.value + "\n" + line)
			continue
		}
		if m := header.FindStringSubmatch(line); m != nil {
			kind, name, _ := strings.Cut(m[1], ":")
			current, open = sectionOf(&sections, strings.TrimSpace(kind), strings.TrimSpace(name)), false
			continue
		}
		i := strings.IndexAny(line, "=:")
		switch {
		case current == nil:
			return nil, fmt.Errorf("%s:%d: %q stands before the first [section]", file, number, line)
		case i <= 0:
			return nil, fmt.Errorf("%s:%d: %q is not KEY = VALUE", file, number, line)
		}
		key := strings.ToLower(strings.TrimSpace(line[:i]))
		current.options = append(current.options, option{key, strings.TrimSpace(line[i+1:])})
		indent, open = depth, true
	}
	return sections, nil
}

func sectionOf(all *[]*section, kind, name string) *section {
	for _, s := range *all {
		if s.kind == kind && s.name == name {
			return s
		}
	}
	s := &section{kind: kind, name: name}
	*all = append(*all, s)
	return s
}
