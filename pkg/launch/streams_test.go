package launch

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/proc"
)

// lines keeps the messages of a logger, its attributes before them.
type lines struct {
	whose string
	got   *[]string
	lock  *sync.Mutex
}

func newLines() *lines { return &lines{got: new([]string), lock: new(sync.Mutex)} }

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithGroup(string) slog.Handler            { return l }

func (l *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := &lines{whose: l.whose, got: l.got, lock: l.lock}
	for _, a := range attrs {
		n.whose += fmt.Sprintf("%s=%s ", a.Key, a.Value)
	}
	return n
}

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.lock.Lock()
	defer l.lock.Unlock()
	*l.got = append(*l.got, l.whose+r.Message)
	return nil
}

func (l *lines) all() []string {
	l.lock.Lock()
	defer l.lock.Unlock()
	return slices.Clone(*l.got)
}

// child opens the streams of the next child.
func child(t *testing.T, o *Outputs, s *Streams, w Wiring) Files {
	t.Helper()
	f, err := o.Open(s, w, "a", "companion", "a")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func write(t *testing.T, fd int, text string) {
	t.Helper()
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		t.Fatalf("write to %d: %v", fd, err)
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestInheritAndNullNeedNothing(t *testing.T) {
	o, s := &Outputs{Logger: slog.New(slog.DiscardHandler)}, &Streams{}
	for _, tt := range []struct {
		w           Wiring
		stdout, err int
	}{
		{Wiring{Stdout: Inherit, Stderr: Inherit}, 1, 2},
		{Wiring{}, 1, 2},
		{Wiring{Stdout: Null, Stderr: Null}, proc.DevNull, proc.DevNull},
		{Wiring{Stdout: Inherit, Stderr: Joined}, 1, 1},
		{Wiring{Stdout: Null, Stderr: Joined}, proc.DevNull, proc.DevNull},
		{Wiring{Stdout: Inherit, Stderr: Inherit, MaxSize: 1 << 20}, 1, 2},
	} {
		f := child(t, o, s, tt.w)
		if f.Stdout != tt.stdout || f.Stderr != tt.err || len(f.owned) != 0 {
			t.Errorf("%+v: %+v", tt.w, f)
		}
		if s.History() != nil || s.LastLines(5) != nil {
			t.Errorf("%+v is captured", tt.w)
		}
	}
	s.Settler()()
	s.Close(o.Logger)
}

// A path without a size is the child's own to write: appended to, and closed
// here once the child has it.
func TestPathIsOpenedForTheChild(t *testing.T) {
	o, s := &Outputs{Logger: slog.New(slog.DiscardHandler)}, &Streams{}
	path := filepath.Join(t.TempDir(), "a.log")
	for _, text := range []string{"one\n", "two\n"} {
		f := child(t, o, s, Wiring{Stdout: path, Stderr: Joined})
		if f.Stderr != f.Stdout {
			t.Errorf("stderr %d is not stdout %d", f.Stderr, f.Stdout)
		}
		write(t, f.Stdout, text)
		fd := f.Stdout
		f.Close()
		f.Close()
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			t.Errorf("descriptor %d is open", fd)
		}
	}
	if got := contents(t, path); got != "one\ntwo\n" {
		t.Errorf("file holds %q", got)
	}
}

func TestLogMakesRecordsThatSayWhose(t *testing.T) {
	records := newLines()
	o, s := &Outputs{Logger: slog.New(records)}, &Streams{}
	f := child(t, o, s, Wiring{Stdout: Captured, Stderr: Captured})
	if f.Stderr != f.Stdout {
		t.Error("two pipes lose the order of lines")
	}
	write(t, f.Stdout, "out\n")
	write(t, f.Stderr, "err, unfinished")
	f.Close()
	s.Settler()()
	if got, want := s.LastLines(5), []string{"out", "err, unfinished"}; !slices.Equal(got, want) {
		t.Errorf("last lines %q, want %q", got, want)
	}
	// The next child has the same pipe, and a line of its own.
	g := child(t, o, s, Wiring{Stdout: Captured, Stderr: Captured})
	if g.Stdout != f.Stdout {
		t.Error("the capture did not outlive its child")
	}
	write(t, g.Stdout, "next\n")
	s.Close(o.Logger)
	if got, want := records.all(), []string{"companion=a out", "companion=a err, unfinished", "companion=a next"}; !slices.Equal(got, want) {
		t.Errorf("records %q, want %q", got, want)
	}
}

func TestLogOnATerminalHasAPrefix(t *testing.T) {
	var terminal bytes.Buffer
	o, s := &Outputs{Logger: slog.New(slog.DiscardHandler), Terminal: &terminal}, &Streams{}
	f := child(t, o, s, Wiring{Stdout: Captured, Stderr: Null})
	if f.Stderr != proc.DevNull {
		t.Errorf("stderr is %d", f.Stderr)
	}
	write(t, f.Stdout, "hello\n")
	s.Close(o.Logger)
	if got := terminal.String(); got != "a | hello\n" {
		t.Errorf("terminal shows %q", got)
	}
}

func TestPathWithASizeIsCapturedAndRotated(t *testing.T) {
	o, s := &Outputs{Logger: slog.New(slog.DiscardHandler)}, &Streams{}
	path := filepath.Join(t.TempDir(), "a.log")
	f := child(t, o, s, Wiring{Stdout: path, Stderr: path, MaxSize: 20, Backups: 2})
	if f.Stderr != f.Stdout || len(f.owned) != 0 {
		t.Errorf("%+v", f)
	}
	for n := range 3 {
		write(t, f.Stdout, fmt.Sprintf("line %d of 15 b\n", n))
		s.Settler()()
	}
	if got := contents(t, path); got != "line 2 of 15 b\n" {
		t.Errorf("file holds %q", got)
	}
	if got := contents(t, path+".1"); got != "line 1 of 15 b\n" {
		t.Errorf("backup holds %q", got)
	}
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	s.Reopen(o.Logger)
	write(t, f.Stdout, "after\n")
	s.Close(o.Logger)
	if got := contents(t, path); got != "after\n" {
		t.Errorf("reopened file holds %q", got)
	}
}

func TestStandardErrorByItselfIsWhatACrashReportShows(t *testing.T) {
	records := newLines()
	o, s := &Outputs{Logger: slog.New(records)}, &Streams{}
	path := filepath.Join(t.TempDir(), "a.err")
	f := child(t, o, s, Wiring{Stdout: Captured, Stderr: path, MaxSize: 1 << 20})
	write(t, f.Stdout, "fine\n")
	write(t, f.Stderr, "panic\n")
	s.Settler()()
	if got := s.LastLines(5); !slices.Equal(got, []string{"panic"}) {
		t.Errorf("last lines %q", got)
	}
	if got := s.History().Tail(5); !slices.Equal(got, []string{"fine"}) {
		t.Errorf("history %q", got)
	}
	s.Close(o.Logger)
}

func TestAnotherWiringEndsTheOldCaptures(t *testing.T) {
	records := newLines()
	o, s := &Outputs{Logger: slog.New(records)}, &Streams{}
	f := child(t, o, s, Wiring{Stdout: Captured, Stderr: Joined})
	write(t, f.Stdout, "old")
	old := s.History()
	child(t, o, s, Wiring{Stdout: Null, Stderr: Null})
	<-old.Done()
	if got := records.all(); !slices.Equal(got, []string{"companion=a old"}) {
		t.Errorf("records %q: what was in the pipe is lost", got)
	}
	if s.History() != nil {
		t.Error("it is captured still")
	}
}

// What was opened for a child that cannot be set up is closed again.
func TestFailedOpenLeavesNoDescriptor(t *testing.T) {
	o, s := &Outputs{Logger: slog.New(slog.DiscardHandler)}, &Streams{}
	dir := t.TempDir()
	before := descriptors(t)
	for _, w := range []Wiring{
		{Stdout: filepath.Join(dir, "ok"), Stderr: filepath.Join(dir, "no", "such")},
		{Stdout: filepath.Join(dir, "no", "such"), Stderr: Inherit},
		{Stdout: filepath.Join(dir, "no", "such"), Stderr: Inherit, MaxSize: 1},
		{Stdout: Captured, Stderr: filepath.Join(dir, "no", "such"), MaxSize: 1},
	} {
		_, err := o.Open(s, w, "a")
		if err == nil || !strings.Contains(err.Error(), "such") {
			t.Errorf("%+v: %v", w, err)
		}
	}
	s.Close(o.Logger)
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

// descriptors counts descriptors below 1024.
func descriptors(t *testing.T) (n int) {
	t.Helper()
	for fd := range 1024 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			n++
		}
	}
	return n
}
