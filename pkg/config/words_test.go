package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSplitWordsKeepsEveryWord(t *testing.T) {
	for in, want := range map[string][]string{
		`app`:                           {"app"},
		`  app   -x  `:                  {"app", "-x"},
		`app 'two words' "two more"`:    {"app", "two words", "two more"},
		`app '' ""`:                     {"app", "", ""},
		`app a"b c"d`:                   {"app", "ab cd"},
		`app a\ b \"q\" \\`:             {"app", "a b", `"q"`, `\`},
		`app '$x' $y ${z}`:              {"app", "$x", "$y", "${z}"},
		`app "a;b|c" 'd&e>f'`:           {"app", "a;b|c", "d&e>f"},
		`app ${A:-two words}x ${B}`:     {"app", "${A:-two words}x", "${B}"},
		`app "${A:-b  c}" '${C:-;}'`:    {"app", "${A:-b  c}", "${C:-;}"},
		`app ${A:-x;y} ${0}`:            {"app", "${A:-x;y}", "${0}"},
		`app $${A b} ${"q r"}`:          {"app", "$${A", "b}", "${q r}"},
		`app ${A} ${'0'}x`:              {"app", "${A}", "${0}x"},
		`app ${A:-open`:                 {"app", "${A:-open"},
		`app # no comment`:              {"app", "#", "no", "comment"},
		`app 2>&1 a;b $(c) (d)`:         {"app", "2>&1", "a;b", "$(c)", "(d)"},
		"app `date` \"`\" x":            {"app", "`date`", "`", "x"},
		`app \d \; "\d" '\d' "\'"`:      {"app", "d", ";", `\d`, `\d`, `\'`},
		"app \"\\$x \\` \\\\ \\\"\"":    {"app", "$x ` \\ \""},
		"app a\\\nb \"c\\\nd\" '\\\n'":  {"app", "ab", "cd", "\\\n"},
		`app \${A b} "\${A b}" $'${A}'`: {"app", "${A", "b}", "${A b}", "$${A}"},
		`app \ä "\ä" ä;`:                {"app", "ä", `\ä`, "ä;"},
		"app ${A} \x000\x00":            nil,
		"app \xff":                      nil,
		`app 'x`:                        nil,
		`app "x\"`:                      nil,
		`app x\`:                        nil,
	} {
		got, _, rule := splitWords(in)
		if (rule == "") != (want != nil) {
			t.Errorf("%s: rule %q", in, rule)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
}

func TestSplitWordsTellsWhatOnlyAShellWouldObey(t *testing.T) {
	for in, want := range map[string]string{
		`app a ; b`:                       ";",
		`app a&&b|c`:                      "&",
		`app 2>&1`:                        ">",
		`app $(x)`:                        "(",
		"app 'a' `x`":                     "`",
		`app ';' "a|b" \> ${A:-x;y} $x *`: "",
	} {
		if _, got, rule := splitWords(in); got != want || rule != "" {
			t.Errorf("%s: %q, want %q (%s)", in, got, want, rule)
		}
	}
}

// However a shell's user quotes words, they come back as they were.
func TestSplitWordsReturnsWhatWasQuoted(t *testing.T) {
	const special = "|&;<>()$`\\\"' \t\n*?[#~=%{}"
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`([ -~\t\nä€]|[$][{]){0,12}`), 1, 6).Draw(t, "words")
		quoted := make([]string, len(words))
		for i, w := range words {
			style := rapid.IntRange(0, 2).Draw(t, "style")
			switch {
			case style == 0:
				quoted[i] = `"` + escape(w, "$`\\\"") + `"`
			case style == 1 && w != "" && !strings.Contains(w, "\n"): // an escaped line break is none
				quoted[i] = escape(w, special)
			default:
				quoted[i] = singleQuoted(w)
			}
		}
		got, operator, rule := splitWords(strings.Join(quoted, " "))
		if operator != "" || rule != "" {
			t.Fatalf("%q: %q, %s", quoted, operator, rule)
		}
		if diff := cmp.Diff(words, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func singleQuoted(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// escape puts a backslash before each of the characters.
func escape(word, characters string) string {
	var b strings.Builder
	for _, c := range word {
		if strings.ContainsRune(characters, c) {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// A string is either refused, or none of its letters is lost.
func TestSplitWordsLosesNoLetter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringMatching(`[a-c \\'"|;&<>()$`+"`"+`{}#]{0,16}`).Draw(t, "in")
		words, _, rule := splitWords(in)
		if rule != "" {
			return
		}
		letters := func(s string) string {
			return strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'c' {
					return r
				}
				return -1
			}, s)
		}
		if got, want := letters(strings.Join(words, "")), letters(in); got != want {
			t.Fatalf("%q became %q", in, words)
		}
	})
}
