package importer

import (
	"errors"
	"strings"
)

var (
	errQuote     = errors.New("has a quote that is not closed")
	errBackslash = errors.New("ends with a backslash")
)

// split splits a command as a POSIX shell and Python's shlex.split do: quotes and
// backslashes, and nothing else.
func split(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	var quote rune
	escaped := false
	for _, c := range s {
		switch {
		case escaped:
			if quote == '"' && c != '"' && c != '\\' {
				word.WriteByte('\\')
			}
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case strings.ContainsRune(" \t\r\n", c):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	switch {
	case quote != 0:
		return nil, errQuote
	case escaped:
		return nil, errBackslash
	case inWord:
		words = append(words, word.String())
	}
	return words, nil
}

// needsShell reports whether only a shell can carry a command out: variables,
// operators, patterns, assignments before the program.
func needsShell(s string) bool {
	var quote rune
	escaped := false
	for i, c := range s {
		switch {
		case escaped:
			escaped = false
		case c == '\\' && quote != '\'':
			escaped = true
		case quote == '\'':
			if c == quote {
				quote = 0
			}
		case c == '$' || c == '`':
			return true
		case quote == '"':
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case strings.ContainsRune("|&;<>()*?[{\n#!", c):
			return true
		case c == '~' && (i == 0 || strings.ContainsRune(" \t:=", rune(s[i-1]))):
			return true
		}
	}
	words, err := split(s)
	if err != nil || len(words) == 0 {
		return true // a shell says what is wrong with it
	}
	name, _, assigns := strings.Cut(words[0], "=")
	return assigns && isVariable(name) || isBuiltin(words[0])
}

// isBuiltin names what sh does itself, and no program does.
func isBuiltin(word string) bool {
	switch word {
	case "cd", "exec", "export", "source", ".", ":", "eval", "set", "ulimit", "umask", "trap", "if", "while", "for", "until", "case":
		return true
	}
	return false
}

func isVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
