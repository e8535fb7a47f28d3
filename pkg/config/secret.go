package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// withoutSecrets is options with what is nobody's business masked: strings below a
// name that sounds like a secret (and not like the file it is in), and the password
// of a URL.
func withoutSecrets(options map[string]any) map[string]any {
	t, _ := newSecrets().masked(options, false).(map[string]any)
	return t
}

// secrets tells a secret by what it is called and what it looks like.
type secrets struct{ name, file, url *regexp.Regexp }

func newSecrets() secrets {
	return secrets{
		name: regexp.MustCompile(`(?i)pass(word|wd|phrase)|secret|token|credential|keys?$|key[_-]|^pass$|[_-]pass$`),
		file: regexp.MustCompile(`(?i)[_-](file|path|dir)$`),
		url:  regexp.MustCompile(`(://[^/?#\s:@]*:)[^/?#\s@]+@`),
	}
}

func (s secrets) calls(name string) bool {
	return s.name.MatchString(name) && !s.file.MatchString(name)
}

// masked is v with its secrets masked, all its strings when it is called like one.
func (s secrets) masked(v any, called bool) any {
	switch v := v.(type) {
	case string:
		if called {
			return Mask
		}
		return s.url.ReplaceAllString(v, "${1}"+Mask+"@")
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = s.masked(e, called)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, e := range v {
			out[name] = s.masked(e, called || s.calls(name))
		}
		return out
	default:
		return v
	}
}

// description is how an error calls a value that it must not show, or cannot better.
type description string

// unknownValue is what an error may show of a value at a place where it means nothing,
// or stands twice. It may be a secret that was meant for a table env: only its kind is
// told in such a table, when its name sounds like a secret or looks like that of a
// variable, and when it is text from a variable, which may have been for another program.
func unknownValue(path []string, v any) description {
	s := newSecrets()
	name := path[len(path)-1]
	if slices.Contains(path, "env") || slices.ContainsFunc(path, s.calls) || name == strings.ToUpper(name) {
		return kindOf(v)
	}
	if t, ok := v.(text); ok {
		v, _ = tomlValue(string(t))
		switch v.(type) {
		case bool, int64, float64:
		default:
			return kindOf(t)
		}
	}
	return description(show(s.masked(v, false)))
}

func kindOf(v any) description {
	switch v.(type) {
	case map[string]any:
		return "a table"
	case []any:
		return "an array"
	case string, text:
		return "a string"
	case bool:
		return "true or false"
	case int64, float64:
		return "a number"
	case fmt.Stringer:
		return "a date or time"
	default:
		return "a value"
	}
}
