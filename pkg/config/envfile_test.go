package config

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEnvFile(t *testing.T) {
	type vars = map[string]string
	environ := vars{"HOME": "/root", "EMPTY": "", "A": "outer"}
	for text, want := range map[string]vars{
		"":                                      {},
		"# A=1\n\n  # B=2 \n":                   {},
		"A=1\nexport B = 2\r\nexport\tC:3":      {"A": "1", "B": "2", "C": "3"},
		"A=\nB= \nC=''\nexport=1":               {"A": "", "B": "", "C": "", "export": "1"},
		"A= x y  # z # z\nB=x#y\nC=#x\nD= #x":   {"A": "x y", "B": "x#y", "C": "#x", "D": ""},
		`A="x # y" # z` + "\nB='x # y'# z":      {"A": "x # y", "B": "x # y"},
		`A="a\n\r\"\\\d\\"` + "\nB='a\\n\"\\''": {"A": "a\n\r\"\\d\\", "B": `a\n"\'`},
		"A=\"one\r\ntwo\"\nB='\n'":              {"A": "one\ntwo", "B": "\n"},
		`A="\"x\""` + "\nB=x\"y 'z\nC=\\n":      {"A": `"x"`, "B": `x"y 'z`, "C": `\n`},
		`A="1" B='2'`:                           {"A": "1", "B": "2"},
		"a.b=1\n2=3\nB=\xff":                    {"a.b": "1", "2": "3", "B": "\xff"},

		"A=${HOME}/x\nB=\"${HOME}\"\nC='${HOME}'":           {"A": "/root/x", "B": "/root", "C": "${HOME}"},
		"A=${NO:-d e}\nB=${EMPTY:-x}${EMPTY}\nC=${NO:-}":    {"A": "d e", "B": "x", "C": ""},
		"A=$HOME$ $(x) $\nB=\"$HOME\"\nC=$1\nD='$HOME'":     {"A": "$HOME$ $(x) $", "B": "$HOME", "C": "$1", "D": "$HOME"},
		"A=$${HOME}\nB=$$\nC=\"$${HOME\"\nD='$${HOME}'":     {"A": "${HOME}", "B": "$$", "C": "${HOME", "D": "$${HOME}"},
		"A=\\${HOME}\nB=\"\\${HOME\"\nC='\\${HOME}'\nD=\\$": {"A": "${HOME}", "B": "${HOME", "C": "\\${HOME}", "D": "$"},
		"B=${A}\nA=1\nC=${A}\nA=${A}2\nD=${A}":              {"A": "12", "B": "outer", "C": "1", "D": "12"},
		"HOME=\nB=${HOME:-x}":                               {"HOME": "", "B": "x"},
		"A='${HOME}'\nB=${A}":                               {"A": "${HOME}", "B": "${HOME}"},
	} {
		got, err := parseEnvFile(text, environ)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	if environ["A"] != "outer" {
		t.Error("gofork's own environment was changed")
	}
}

func TestEnvFileSaysWhatIsWrongWithoutItsContent(t *testing.T) {
	for text, want := range map[string]string{
		"A=1\nB=\"one\ntwo\"\nsecret\n":              "line 4 is not NAME=VALUE",
		"A=1\nB=\"one\ntwo\nC=2\n":                   "line 2 has a quote that is not closed",
		"A='x\ny'\nB='x\nC=\"y\"\n\n":                "line 3 has a quote that is not closed",
		"# x\r\nsecret word=1":                       "line 2 is not NAME=VALUE",
		"=secret":                                    "line 1 is not NAME=VALUE",
		"A='secret'secret=1":                         "line 1 has something right behind a closing quote",
		"A=\"secret\"s\n":                            "line 1 has something right behind a closing quote",
		"A=1\n#\x00\n":                               "line 2 has a NUL byte",
		"\nA=secret${NO}":                            "line 2 cannot be expanded: the variable NO is not set (write ${NO:-default} to allow that)",
		"A=\"secret${\"\n":                           `line 1 cannot be expanded: a "${" without "}" (write $${ for a literal one)`,
		"A=${secret word}":                           `line 1 cannot be expanded: "${" must be followed by the name of a variable (write $${ for a literal one)`,
		"A=${NO:-${secret}}":                         "line 1 cannot be expanded: the default of ${NO} must not contain another variable",
		"A=x\n" + strings.Repeat("A=${A}${A}\n", 40): "line 21 makes all values together longer than 1 MiB",
		"A=" + strings.Repeat("x", 1<<19) + "\nB=${A}${A}x${A}": "line 2 cannot be expanded: must not become longer than 1 MiB",
		strings.Repeat("A=x\n", 1000) + "B":                     "line 1001 is not NAME=VALUE",
	} {
		if _, err := parseEnvFile(text, nil); err == nil || err.Error() != want {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

// A reload waits for it.
func TestALargeEnvFileIsReadInTime(t *testing.T) {
	begun := time.Now()
	for _, line := range []string{"A=1\n", "A='\n'\n", "A=\\$${A:-x}\n", "A=${A:-x}${A:-x}\n", "A=${B:-x}${A:-x}\n", "#\n", "\n", "A=\"", "A=' "} {
		text := string(bytes.Repeat([]byte(line), maxEnvFile/len(line))) + "B"
		if _, err := parseEnvFile(text, nil); err == nil {
			t.Errorf("%q: no error", line)
		}
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}
