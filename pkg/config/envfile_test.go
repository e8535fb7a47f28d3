package config

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// A reload waits for it. Reading all of the file again for each line took 90 s.
func TestTheBrokenLineOfALargeEnvFileIsFoundInTime(t *testing.T) {
	data := append(bytes.Repeat([]byte("A="+strings.Repeat("x", 1000)+"\n"), 998), "B\n"...)
	begun := time.Now()
	if line := brokenLine(data); line != 999 {
		t.Errorf("line %d, want 999", line)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestTheBrokenLineBehindAValueOfSeveralLines(t *testing.T) {
	for text, want := range map[string]int{
		"A=1\nB=\"one\ntwo\"\nC\n":    4,
		"A=1\nB=\"one\ntwo\nC=2\n":    2,
		"C\n":                         1,
		"A='x\ny'\nB='x\nC=\"y\"\n\n": 3,
	} {
		if line := brokenLine([]byte(text)); line != want {
			t.Errorf("%q: line %d, want %d", text, line, want)
		}
	}
}
