package config

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// FuzzSplitWords wants the words that a shell would make, or a refusal.
func FuzzSplitWords(f *testing.F) {
	for _, seed := range []string{
		`app 'two words' "two more" a\ b \"q\" \\`, `app '' "" a"b c"d 'e'`, `app ${A:-two words}x ${B}`, `app "${A:-b  c}" '${C:-;}'`,
		`app $${A b} ${"q r"}`, "app\t\n\r x\x00y \xff", `app ${A} ${'0'}`, "app `x` $(y) 2>&1", `a\`, `a "`, `a \;b "\d\$" \d`, "a \\\nb \"\\\n\"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words, _, rule := splitWords(s)
		if rule != "" {
			if words != nil {
				t.Errorf("refused (%s) and split into %q", rule, words)
			}
			return
		}
		if !strings.Contains(s, "${") { // what is inside is one word; TestSplitWordsKeepsEveryWord
			if want := shellWords(s); !slices.Equal(words, want) {
				t.Errorf("%q is %q, a shell makes %q", s, words, want)
			}
		}
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = singleQuoted(w)
		}
		if again, operator, rule := splitWords(strings.Join(quoted, " ")); operator != "" || rule != "" || !slices.Equal(again, words) {
			t.Errorf("%q quoted is %q (%q, %s)", words, again, operator, rule)
		}
	})
}

// shellWords splits as POSIX says what is closed and has no NUL, operators being letters.
func shellWords(s string) (words []string) {
	token := regexp.MustCompile(`(?s)'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([ \t\r\n]+)|.`)
	inDouble := regexp.MustCompile("(?s)\\\\([$`\"\\\\])|\\\\\n")
	word, inWord := "", false
	for _, m := range token.FindAllStringSubmatch(s, -1) {
		switch {
		case m[4] != "":
			if inWord {
				words, word, inWord = append(words, word), "", false
			}
			continue
		case m[0] == "\\\n":
			continue
		case m[0][0] == '\'':
			word += m[1]
		case m[0][0] == '"':
			word += inDouble.ReplaceAllString(m[2], "$1")
		case m[3] != "":
			word += m[3]
		default:
			word += m[0]
		}
		inWord = true
	}
	if inWord {
		words = append(words, word)
	}
	return words
}

// FuzzEnvFile wants names that can be in an environment, or an error that shows
// nothing of the file.
func FuzzEnvFile(f *testing.F) {
	for _, seed := range []string{
		"A=1\nexport B=\"two\\nlines\"\n# comment\nC='$A' # more\n", "A: yaml\n", "KEY=\"open\nA=1", "=x", "A=\x00", "\xef\xbb\xbfA=1",
		"A=${A}${B}", "A=\\", "A='\n'\r\nB=\"\r\n\"", "A", "A B=1", "A='$${B}' B=\"\\${B}${A:-x}\"\nC=$${B} # ${", "A=\"\\\\\"#\nB='\\''",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const secret = "s3cr3tpass"
		vars, err := parseEnvFile(string(data)+"\nLAST="+secret+"\n", map[string]string{"B": "b"})
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows a value: %v", err)
			}
			if vars != nil {
				t.Errorf("%v and variables: %q", err, vars)
			}
			return
		}
		for name, value := range vars {
			if name == "" || strings.ContainsAny(name, "=\x00") || strings.IndexByte(value, 0) >= 0 {
				t.Errorf("%q=%q cannot be in an environment", name, value)
			}
		}
	})
}
