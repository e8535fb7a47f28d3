package companion

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/proc/proctest"
)

// journal keeps the records of a logger.
type journal struct {
	mu      sync.Mutex
	records []slog.Record
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *journal) WithGroup(string) slog.Handler            { return j }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records = append(j.records, r)
	return nil
}

// of returns the attributes of the last record of an event.
func (j *journal) of(event string) map[string]slog.Value {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range slices.Backward(j.records) {
		attrs := map[string]slog.Value{}
		r.Attrs(func(a slog.Attr) bool { attrs[a.Key] = a.Value; return true })
		if attrs["event"].String() == event {
			return attrs
		}
	}
	return nil
}

func output(attrs map[string]slog.Value) []string {
	lines, _ := attrs["output"].Any().([]string)
	return lines
}

// dying runs one companion that prints a text and fails, and returns what was
// recorded of it.
func dying(t *testing.T, text string, change ...func(*config.Companion)) *journal {
	t.Helper()
	j := &journal{}
	l := newLoopForTest(t, func(o *Options) {
		o.Logger = slog.New(j)
		o.System = proctest.New(func(c proc.Command) proctest.Script {
			fd := c.Files[2]
			if _, err := unix.Write(fd, []byte(text)); err != nil {
				t.Error(err)
			}
			return proctest.Script{Life: proctest.AtOnce, Code: 1}
		})
	})
	l.hear([]link.Message{{Apply: &link.Apply{ID: 1, Specs: []config.Companion{target("a", change...)}}}}, true)
	for len(l.queue) > 0 || len(l.starts) > 0 || len(l.ids) > 0 {
		switch {
		case len(l.queue) > 0:
			next := l.queue[0]
			l.queue = l.queue[1:]
			l.perform(next)
		case len(l.starts) > 0:
			next := l.starts[0]
			l.starts = l.starts[1:]
			l.start(next)
		default:
			<-l.System.Changed()
			l.reap()
		}
	}
	return j
}

func logged(s *config.Companion) { s.Stdout, s.Stderr = "log", "log" }

func TestReportsOfACrashShowTheLastLines(t *testing.T) {
	want := []string{"4", "5", "6", "7", "panic: no newline after this"}
	text := "1\n2\n3\n4\n5\n6\n7\npanic: no newline after this"
	for name, wiring := range map[string]func(*config.Companion){
		"one pipe":       logged,
		"stderr joined":  func(s *config.Companion) { s.Stdout, s.Stderr = "log", "stdout" },
		"stderr alone":   func(s *config.Companion) { s.Stdout, s.Stderr = "null", "log" },
		"file with size": func(s *config.Companion) { s.Stderr, s.LogMaxSize = filepath.Join(t.TempDir(), "a.log"), 1<<20 },
	} {
		t.Run(name, func(t *testing.T) {
			j := dying(t, text, wiring)
			for _, event := range []string{"companion.exited", "companion.backoff"} {
				if got := output(j.of(event)); !slices.Equal(got, want) {
					t.Errorf("%s has output %q, want %q", event, got, want)
				}
			}
			if got := output(j.of("companion.started")); got != nil {
				t.Errorf("companion.started has output %q", got)
			}
		})
	}
	t.Run("fatal", func(t *testing.T) {
		j := dying(t, text, logged, func(s *config.Companion) { s.Startretries, s.BackoffInitial = 1, 0 })
		// The second attempt went on after the first, on a line of its own.
		if got := output(j.of("companion.fatal")); !slices.Equal(got, want) {
			t.Errorf("output %q, want %q", got, want)
		}
	})
	t.Run("not captured", func(t *testing.T) {
		j := dying(t, text, func(s *config.Companion) { s.Stderr = filepath.Join(t.TempDir(), "a.log") })
		if got := j.of("companion.exited"); got == nil || output(got) != nil {
			t.Errorf("%v", got)
		}
	})
	t.Run("expected", func(t *testing.T) {
		j := dying(t, text, logged, func(s *config.Companion) { s.Autorestart, s.SuccessCodes = config.RestartOnFailure, []int{1} })
		if got := j.of("companion.exited"); got == nil || output(got) != nil {
			t.Errorf("%v", got)
		}
	})
}

func TestLongLinesOfAReportAreCut(t *testing.T) {
	j := dying(t, strings.Repeat("é", 5000)+"\n", logged)
	got := output(j.of("companion.exited"))
	if len(got) != 1 || len(got[0]) > reportBytes+10 || !strings.HasSuffix(got[0], "é …") {
		t.Errorf("%d lines, %.20q … %q", len(got), fmt.Sprint(got), got[0][len(got[0])-10:])
	}
}

// stuck is a terminal that takes nothing until it is released.
type stuck struct{ release chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.release
	return len(p), nil
}

// A disk that hangs must not hang the supervisor: stop windows run on.
func TestReportDoesNotWaitForAnOutputThatHangs(t *testing.T) {
	release := make(chan struct{})
	j := &journal{}
	l := newLoopForTest(t, func(o *Options) {
		o.Logger, o.Terminal = slog.New(j), stuck{release}
		o.System = proctest.New(func(c proc.Command) proctest.Script {
			if _, err := unix.Write(c.Files[1], bytes.Repeat([]byte("line\n"), 10)); err != nil {
				t.Error(err)
			}
			return proctest.Script{}
		})
	})
	t.Cleanup(func() { close(release) }) // before the loop is closed, which waits for its helpers
	l.step(applyAsked{link.Apply{ID: 1, Specs: []config.Companion{target("a", logged, procs(20))}}})
	for len(l.starts) > 0 {
		next := l.starts[0]
		l.starts = l.starts[1:]
		l.start(next)
	}
	for n := 1; n <= 20; n++ {
		l.settle(key{"a", n}) // returns; that it does is the test
	}
	if l.settling == nil || isClosed(l.settling) {
		t.Error("nothing hangs")
	}
}
