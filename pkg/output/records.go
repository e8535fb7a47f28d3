package output

import "io"

// Records is where the lines of a child go one by one ("log").
type Records struct {
	// Line gets each line without its newline. split says that the line was
	// longer than [MaxLine]: this piece of it ends with [SplitMark], and the next
	// call goes on with it. Line must not keep line, which the next read overwrites.
	Line func(line []byte, split bool)
	// Idle, if there is one, is called when the child has nothing more to read
	// at the moment; a writer that buffers flushes there.
	Idle func()
}

// Records captures a stream as records. It takes over the read end fd, also
// when it fails. The functions of to are called on the capture's goroutine, or
// on the one that calls [Capture.Settle], never at the same time.
func (s *Captures) Records(fd int, to Records) (*Capture, error) {
	return s.start(fd, &recordSink{to})
}

type recordSink struct{ Records }

func (s *recordSink) whole(lines []byte) {
	eachLine(lines, func(line []byte) { s.Line(line, false) })
}

func (s *recordSink) cut(line []byte) { s.Line(line[:len(line)-1], true) }

func (s *recordSink) idle() {
	if s.Idle != nil {
		s.Idle()
	}
}

func (s *recordSink) reopen() error { return nil }
func (s *recordSink) close() error  { return nil }

// Prefixed captures a stream for a terminal: each line is written to w behind
// prefix. It takes over the read end fd, also when
// it fails, but not w. Lines are written when the child pauses or 64 KiB have
// come together, always whole, so that the streams of several children can
// share w. Errors of w are ignored: there is nobody left to tell.
func (s *Captures) Prefixed(fd int, w io.Writer, prefix string) (*Capture, error) {
	return s.start(fd, &prefixSink{shared: s, w: w, prefix: prefix})
}

type prefixSink struct {
	shared *Captures
	w      io.Writer
	prefix string
	buf    *[]byte // nil while there is nothing to write
	n      int
}

func (s *prefixSink) cut(line []byte) { s.whole(line) }

func (s *prefixSink) whole(lines []byte) { eachLine(lines, s.write) }

func (s *prefixSink) write(line []byte) {
	if s.buf == nil {
		s.buf = s.shared.buffer(false)
	}
	need := len(s.prefix) + len(line) + 1
	if s.n+need > len(*s.buf) {
		s.flush()
	}
	// A buffer has room for two lines of MaxLine, so only an absurd prefix misses.
	b := append((*s.buf)[:s.n], s.prefix...)
	b = append(b, line...)
	b = append(b, '\n')
	if len(b) > len(*s.buf) {
		_, _ = s.w.Write(b)
		return
	}
	if s.n = len(b); s.n >= smallRead {
		s.flush()
	}
}

func (s *prefixSink) flush() {
	if s.n > 0 {
		_, _ = s.w.Write((*s.buf)[:s.n])
		s.n = 0
	}
}

func (s *prefixSink) idle() {
	if s.buf != nil {
		s.flush()
		s.shared.release(s.buf, false)
		s.buf = nil
	}
}

func (s *prefixSink) reopen() error { return nil }
func (s *prefixSink) close() error  { return nil }
