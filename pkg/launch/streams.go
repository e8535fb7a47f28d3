package launch

import (
	"context"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/output"
)

// closeWithin is how long the end of a capture may take when a stranger, such
// as a daemon that left its group, still holds the pipe and writes.
const closeWithin = 200 * time.Millisecond

// Wiring is the part of a child's configuration that decides where its output goes.
type Wiring struct {
	Stdout, Stderr string
	MaxSize        int64 // > 0: a path is captured and rotated
	Backups        int
}

// Outputs makes the streams of one supervisor's children.
type Outputs struct {
	Logger *slog.Logger
	// Terminal is where captured lines go behind a prefix when people read
	// along; nil makes each line a record of Logger.
	Terminal io.Writer

	captures output.Captures
}

// Streams is where the output of one instance, or slot, goes. Its captures
// outlive a child, so that nothing in a pipe is lost with it. It belongs to the
// loop of its supervisor.
type Streams struct {
	made   Wiring
	stdout *captured
	stderr *captured // nil when it is not captured, or joins stdout
}

// captured is a pipe of which the supervisor holds both ends.
type captured struct {
	capture *output.Capture
	write   int
}

// Files are the standard output and error of a child to be.
type Files struct {
	Stdout, Stderr int
	owned          []int
}

// Close closes what was opened for this child alone, once it has been started.
func (f *Files) Close() {
	for _, fd := range f.owned {
		unix.Close(fd)
	}
	f.owned = nil
}

// Open gives the next child its descriptors. Captures made for another wiring
// end. label is how people know the child, attrs are what records say of it.
func (o *Outputs) Open(s *Streams, w Wiring, label string, attrs ...any) (Files, error) {
	if s.made != w {
		s.Close(o.Logger)
		*s = Streams{made: w}
	}
	var f Files
	var err error
	if f.Stdout, err = o.open(&s.stdout, w, w.Stdout, unix.Stdout, label, attrs, &f); err != nil {
		return Files{}, err
	}
	if w.Stderr == Joined || w.captures(w.Stderr) && w.Stderr == w.Stdout {
		// One pipe, so that the lines of both keep their order.
		f.Stderr = f.Stdout
		return f, nil
	}
	if f.Stderr, err = o.open(&s.stderr, w, w.Stderr, unix.Stderr, label, attrs, &f); err != nil {
		f.Close()
		return Files{}, err
	}
	return f, nil
}

// Piped are the descriptors of a child, 1 and 2, that are pipes to the supervisor.
func (w Wiring) Piped() []int {
	var fds []int
	if w.captures(w.Stdout) {
		fds = append(fds, unix.Stdout)
	}
	if w.captures(w.Stderr) && w.Stderr != w.Stdout {
		fds = append(fds, unix.Stderr)
	}
	return fds
}

// captures says whether output of that name goes through the supervisor.
func (w Wiring) captures(name string) bool {
	switch name {
	case Captured:
		return true
	case Inherit, Null, Joined, "":
		return false
	default:
		return w.MaxSize > 0
	}
}

func (o *Outputs) open(kept **captured, w Wiring, name string, inherited int, label string, attrs []any, f *Files) (int, error) {
	if !w.captures(name) {
		fd, owned, err := openFile(name, inherited)
		if owned {
			f.owned = append(f.owned, fd)
		}
		return fd, err
	}
	if *kept == nil {
		c, err := o.capture(w, name, label, attrs)
		if err != nil {
			return -1, err
		}
		*kept = c
	}
	return (*kept).write, nil
}

// openFile opens what needs no capture: the descriptor, and whether it is the
// caller's to close.
func openFile(name string, inherited int) (fd int, owned bool, err error) {
	switch name {
	case Inherit, "":
		return inherited, false, nil
	case Null:
		return -1, false, nil
	default:
		fd, err := output.OpenAppend(name, 0o644)
		return fd, err == nil, err
	}
}

func (o *Outputs) capture(w Wiring, name, label string, attrs []any) (*captured, error) {
	read, write, err := output.Pipe()
	if err != nil {
		return nil, err
	}
	var c *output.Capture
	switch {
	case name == Captured && o.Terminal != nil:
		c, err = o.captures.Prefixed(read, o.Terminal, label+" | ")
	case name == Captured:
		c, err = o.captures.Records(read, output.Records{Line: o.recorder(attrs)})
	default:
		c, err = o.captureFile(read, w, name, attrs)
	}
	if err != nil {
		unix.Close(write)
		return nil, err
	}
	return &captured{c, write}, nil
}

func (o *Outputs) captureFile(read int, w Wiring, path string, attrs []any) (*output.Capture, error) {
	logger := o.Logger.With(attrs...).With("file", path)
	f, err := output.OpenFile(output.FileConfig{
		Path: path, MaxSize: w.MaxSize, Backups: w.Backups,
		Trouble:   func(err error) { logger.Error("cannot write output", "error", err.Error()) },
		Recovered: func(dropped int64) { logger.Info("writing output again", "dropped_lines", dropped) },
	})
	if err != nil {
		unix.Close(read)
		return nil, err
	}
	return o.captures.File(read, f)
}

// recorder makes each line a record of the log.
func (o *Outputs) recorder(attrs []any) func([]byte, bool) {
	logger := o.Logger.With(attrs...)
	return func(line []byte, split bool) {
		if split {
			logger.LogAttrs(context.Background(), slog.LevelInfo, string(line), slog.Bool("split", true))
			return
		}
		logger.LogAttrs(context.Background(), slog.LevelInfo, string(line))
	}
}

func (s *Streams) each(f func(*captured)) {
	for _, c := range []*captured{s.stdout, s.stderr} {
		if c != nil {
			f(c)
		}
	}
}

// History is the capture that remembers the last lines, nil when there is none.
func (s *Streams) History() *output.Capture {
	switch {
	case s.stdout != nil:
		return s.stdout.capture
	case s.stderr != nil:
		return s.stderr.capture
	}
	return nil
}

// LastLines returns the last n lines for a report of a crash: of standard error
// where it is captured by itself, else of what is captured.
func (s *Streams) LastLines(n int) []string {
	c := s.History()
	if s.stderr != nil {
		c = s.stderr.capture
	}
	if c == nil {
		return nil
	}
	return c.Tail(n)
}

// Settler returns what completes the last line of a child that has ended. To run
// it may take as long as a disk, and any goroutine may.
func (s *Streams) Settler() (settle func()) {
	var captures []*output.Capture
	s.each(func(c *captured) { captures = append(captures, c.capture) })
	return func() {
		for _, c := range captures {
			c.Settle()
		}
	}
}

// Reopen opens the files of captures afresh, after somebody has moved them away.
func (s *Streams) Reopen(logger *slog.Logger) {
	s.each(func(c *captured) {
		if err := c.capture.Reopen(); err != nil {
			logger.Error("cannot reopen output", "error", err.Error())
		}
	})
}

// Close ends the captures.
func (s *Streams) Close(logger *slog.Logger) {
	s.each(func(c *captured) {
		unix.Close(c.write)
		if err := c.capture.Close(closeWithin); err != nil {
			logger.Warn("cannot end the capture of output", "error", err.Error())
		}
	})
	s.stdout, s.stderr = nil, nil
}
