package historytest

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// Tale is a history in words, and says which law ended it. The words are many: only
// those of a history that somebody reads are kept.
type Tale struct {
	t      *rapid.T
	hunted bool
	read   bool
	lines  []string
}

// NewTale is that of a history that begins. One that is hunted ends in a [Breach]
// where another one fails.
func NewTale(t *rapid.T, hunted bool) *Tale {
	tale := &Tale{t: t, hunted: hunted}
	t.Logf("the history: %v", reader{&tale.read})
	return tale
}

// reader is told when what is logged is read by somebody.
type reader struct{ reads *bool }

func (r reader) String() string { *r.reads = true; return "below" }

// Read reports whether somebody reads the tale, so that it has to be told.
func (tale *Tale) Read() bool { return tale.read }

// Tell adds a fact and the orders that came of it.
func (tale *Tale) Tell(since time.Duration, fact string, orders []string) {
	tale.lines = append(tale.lines, fmt.Sprintf("%12.3fs %s → %s", since.Seconds(), fact, strings.Join(orders, ", ")))
}

// Broken is the end of a history that breaks a law.
func (tale *Tale) Broken(law Law, format string, args ...any) {
	how := fmt.Sprintf(format, args...)
	if tale.hunted {
		panic(Breach{Law: law, How: how})
	}
	if tale.read {
		tale.t.Logf("history:\n%s", strings.Join(tale.lines, "\n"))
	}
	tale.t.Fatalf("broken: %s:\n%s", law, how)
}
