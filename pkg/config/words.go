package config

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
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
		var operator, rule string
		if words, operator, rule = splitWords(v); rule != "" {
			return nil, r.bad(at, raw, rule)
		}
		if operator != "" {
			r.warn(`%s: no shell runs it, so that %q is part of a word: quote it if that is right, or use ["sh", "-c", "…"]`, at, operator)
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

// splitWords splits a command as a POSIX shell does by quotes and backslashes, and
// by nothing else: operators and substitutions are letters like all others. operator is
// the first that a shell would have obeyed; rule says what is wrong. The libraries for
// this read \n as a line break, stop at an operator, or drop the backslash of "\d".
func splitWords(s string) (words []string, operator, rule string) {
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return nil, "", "must not contain a NUL byte"
	case !utf8.ValidString(s):
		return nil, "", "must be UTF-8" // children are described to the manager in JSON
	}
	const single, double = '\'', '"'
	var word []byte
	inWord := false // which may be empty, in quotes
	var quote byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && quote != single:
			i++
			if i == len(s) {
				return nil, "", "ends with a backslash"
			}
			if s[i] == '\n' {
				continue // the line goes on
			}
			if quote == double && strings.IndexByte("\"\\$`", s[i]) < 0 {
				word = append(word, c)
			}
			word, inWord = append(word, s[i]), true
		case c == quote:
			quote = 0
		case quote != 0:
			word = append(word, c)
		case c == single || c == double:
			quote, inWord = c, true
		case strings.IndexByte(" \t\r\n", c) >= 0:
			if inWord {
				words, word, inWord = append(words, string(word)), nil, false
			}
		default:
			if n := reference(s[i:]); n > 0 && !bytes.HasSuffix(word, []byte("$")) {
				word, inWord = append(word, s[i:i+n]...), true
				i += n - 1
				continue
			}
			if operator == "" && strings.IndexByte(";&|<>()`", c) >= 0 {
				operator = string(c)
			}
			word, inWord = append(word, c), true
		}
	}
	if quote != 0 {
		return nil, "", "has a quote that is not closed"
	}
	if inWord {
		words = append(words, string(word))
	}
	return words, operator, ""
}

// reference is the length of the ${VAR:-default} that s begins with, 0 without one. It
// stays in one word with the spaces of its default. One with a quote or a backslash
// inside is split as everything else.
func reference(s string) int {
	if !strings.HasPrefix(s, "${") {
		return 0
	}
	end := strings.IndexAny(s[2:], `{}'"\`)
	if end < 0 || s[2+end] != '}' {
		return 0
	}
	return 2 + end + 1
}
