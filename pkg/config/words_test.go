package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSplitWordsKeepsEveryWord(t *testing.T) {
	for in, want := range map[string][]string{
		`app`:                        {"app"},
		`  app   -x  `:               {"app", "-x"},
		`app 'two words' "two more"`: {"app", "two words", "two more"},
		`app '' ""`:                  {"app", "", ""},
		`app a"b c"d`:                {"app", "ab cd"},
		`app a\ b \"q\" \\`:          {"app", "a b", `"q"`, `\`},
		`app '$x' $y ${z}`:           {"app", "$x", "$y", "${z}"},
		`app "a;b|c" 'd&e>f'`:        {"app", "a;b|c", "d&e>f"},
		`app ${A:-two words}x ${B}`:  {"app", "${A:-two words}x", "${B}"},
		`app "${A:-b  c}" '${C:-;}'`: {"app", "${A:-b  c}", "${C:-;}"},
		`app ${A:-x;y} ${0}`:         {"app", "${A:-x;y}", "${0}"},
		`app $${A b} ${"q r"}`:       {"app", "$${A", "b}", "${q r}"},
		`app ${A} ${'0'}x`:           {"app", "${A}", "${0}x"},
		`app ${A:-open`:              {"app", "${A:-open"},
		`app # no comment`:           {"app", "#", "no", "comment"},
		`app "tick ` + "`" + `" (`:   nil,
		"app 2>&1":                   nil,
		"app ${A} \x000\x00":         nil,
		"app \xff":                   nil,
		"app a\\nb":                  nil,
	} {
		got, rule := splitWords(in)
		if (rule == "") != (want != nil) {
			t.Errorf("%s: rule %q", in, rule)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
}

// Whatever is single-quoted comes back as it was: nothing is lost or changed.
func TestSplitWordsReturnsWhatWasQuoted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`[ -&(-~\tä€]{0,12}`), 1, 6).Draw(t, "words")
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = "'" + w + "'"
		}
		got, rule := splitWords(strings.Join(quoted, " "))
		if rule != "" {
			t.Fatal(rule)
		}
		if diff := cmp.Diff(words, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A string is either refused, or none of its letters is lost.
func TestSplitWordsLosesNoLetter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringMatching(`[a-c \\'"|;&<>()$`+"`"+`{}#]{0,16}`).Draw(t, "in")
		words, rule := splitWords(in)
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
