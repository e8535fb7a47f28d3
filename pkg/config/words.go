package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-shellwords"
)

// parseCommand reads argv. A string is split into words, an array is used as it is;
// ${VAR} is expanded in the words, after the split.
func (r *reader) parseCommand(k *Key, at string, raw any) (any, bool) {
	var words []string
	ok := true
	switch v := raw.(type) {
	case string:
		if k.Kind == KindArgv {
			return nil, r.bad(at, raw, "must be an array of strings")
		}
		var rule string
		if words, rule = splitWords(v); rule != "" {
			return nil, r.bad(at, raw, rule)
		}
	case []any:
		for i, e := range v {
			word, isString := e.(string)
			if !isString {
				ok = r.bad(index(at, i), e, "must be a string")
			}
			words = append(words, word)
		}
	default:
		if k.Kind == KindArgv {
			return nil, r.bad(at, raw, "must be an array of strings")
		}
		return nil, r.bad(at, raw, "must be an array of strings, or a string that is split into words")
	}
	if k.Kind == KindArgv && len(words) == 0 && ok {
		return []string(nil), true // no hook
	}
	if len(words) == 0 || words[0] == "" {
		return nil, ok && r.bad(at, raw, "must name a program")
	}
	for i, word := range words {
		expanded, err := r.expand(word)
		if err == nil && strings.IndexByte(expanded, 0) >= 0 {
			err = errors.New("must not contain a NUL byte")
		}
		if err == nil && i == 0 && expanded == "" {
			err = errors.New("must name a program")
		}
		if err != nil {
			// A word of an array has a place of its own, one of a string has not.
			if where := index(at, i); isArray(raw) {
				ok = r.bad(where, word, err.Error())
			} else {
				ok = r.bad(at, raw, err.Error())
			}
			continue
		}
		words[i] = expanded
	}
	return words, ok
}

func isArray(raw any) bool { _, ok := raw.([]any); return ok }

// splitWords splits a command as a POSIX shell does, quotes and backslashes included,
// and refuses what only a shell could carry out. rule says what is wrong.
func splitWords(s string) (words []string, rule string) {
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return nil, "must not contain a NUL byte" // which marks a reference below
	case !utf8.ValidString(s):
		return nil, "must be UTF-8"
	}
	s, put := cutReferences(s)
	if rule := shellOnly(s); rule != "" {
		return nil, rule
	}
	parser := shellwords.NewParser()
	parser.ParseEnv, parser.ParseBacktick, parser.ParseComment = false, false, false
	words, err := parser.Parse(s)
	// A position means that the parser stopped at an operator and dropped the rest.
	if err != nil || parser.Position >= 0 {
		return nil, "cannot be split into words: use an array of words"
	}
	for i := range words {
		words[i] = put.Replace(words[i])
	}
	return words, ""
}

// cutReferences puts a word without spaces in the place of each ${VAR:-default},
// which stays in one word with the spaces of its default, and returns what puts the
// references back. One with a quote or a backslash inside is split as everything else.
func cutReferences(s string) (cut string, put *strings.Replacer) {
	references := regexp.MustCompile(`\$?\$\{[^{}'"\\]*\}`)
	var pairs []string
	cut = references.ReplaceAllStringFunc(s, func(ref string) string {
		if strings.HasPrefix(ref, "$$") {
			return ref // a literal
		}
		mark := fmt.Sprintf("\x00%d\x00", len(pairs)/2)
		pairs = append(pairs, mark, ref)
		return mark
	})
	return cut, strings.NewReplacer(pairs...)
}

// shellOnly finds what the parser would cut off or change without a word: operators,
// substitutions, open quotes, and escapes that it does not read as a shell does.
func shellOnly(s string) string {
	const single, double = '\'', '"'
	var quote rune
	escaped := false
	for _, c := range s {
		switch {
		case escaped:
			if !strings.ContainsRune(" \"'\\$&;|<>()`*?#~", c) || quote == double && !strings.ContainsRune("\"\\$`", c) {
				return `has a backslash before ` + fmt.Sprintf("%q", c) + `: put the word in single quotes, or use an array of words`
			}
			escaped = false
		case quote == single:
			if c == single {
				quote = 0
			}
		case c == '\\':
			escaped = true
		case quote == double:
			if c == double {
				quote = 0
			}
		case c == single || c == double:
			quote = c
		case strings.ContainsRune(";&|<>()`", c):
			return fmt.Sprintf(`has %q, and no shell runs it: quote it, or use ["sh", "-c", "…"]`, string(c))
		}
	}
	switch {
	case quote != 0:
		return "has a quote that is not closed"
	case escaped:
		return "ends with a backslash"
	}
	return ""
}
