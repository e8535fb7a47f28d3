package output

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
)

const (
	// HistoryLines is how many of the last lines a Capture keeps.
	HistoryLines = 256

	historyBytes   = 128 << 10 // of kept lines at most, however few they are
	historyMin     = 1 << 10
	followerBehind = 4 << 20     // bytes a follower may be behind before it is dropped
	followerBatch  = MaxLine + 1 // bytes it gets at a time: the longest line always fits
)

// ErrFollowerSlow ends a Follow whose reader was so far behind that keeping its
// lines would cost too much memory.
var ErrFollowerSlow = errors.New("follower dropped: more than 4 MiB behind")

// history holds the last lines of one stream and passes new ones to followers.
// Its lock is never held during input or output, so that a question for the
// last lines is answered while the disk hangs.
type history struct {
	mu sync.Mutex
	// buf is whole lines, the last HistoryLines of the stream among them.
	// Appending at the end and moving the kept part down when there is no room
	// costs less than two copies a byte; it grows only while fewer than
	// HistoryLines fit into half of it.
	buf       []byte
	followers map[*follower]struct{}
	closed    bool
}

// add takes whole lines, each with its newline.
func (h *history) add(p []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.feed(p)
	if len(h.buf)+len(p) > cap(h.buf) {
		p = p[keepFrom(p):]
		h.makeRoom(len(p))
	}
	h.buf = append(h.buf, p...)
}

// makeRoom moves what must be kept to the front of a buffer that takes n more bytes.
func (h *history) makeRoom(n int) {
	if len(h.buf)+n <= cap(h.buf) {
		return
	}
	keep := h.buf[keepFrom(h.buf):]
	size := max(cap(h.buf), historyMin)
	for size < 2*len(keep) || size < len(keep)+n {
		size *= 2
	}
	if size == cap(h.buf) {
		h.buf = h.buf[:copy(h.buf, keep)]
		return
	}
	h.buf = append(make([]byte, 0, size), keep...)
}

// keepFrom returns where the lines worth keeping begin: the last HistoryLines
// of them, fewer when those are larger than historyBytes.
func keepFrom(p []byte) int {
	from := lastLines(p, HistoryLines)
	if over := len(p) - historyBytes; over > from {
		from = over + bytes.IndexByte(p[over-1:], '\n') // the first line that begins at over or later
	}
	return from
}

// tail returns the last n lines, oldest first, and all of them for n beyond HistoryLines.
func (h *history) tail(n int) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tailLocked(n)
}

func (h *history) tailLocked(n int) []string {
	kept := string(h.buf[lastLines(h.buf, min(n, HistoryLines)):])
	if kept == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(kept, "\n"), "\n")
}

// close ends the followers when they have read what they were given.
func (h *history) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for f := range h.followers {
		f.wake()
	}
}

// follower is one reader of a Follow; its fields belong to the history's lock.
type follower struct {
	pending []byte
	dropped bool
	ready   chan struct{} // capacity 1: something changed
}

func (f *follower) wake() {
	select {
	case f.ready <- struct{}{}:
	default: // it will look anyway
	}
}

// feed gives p to every follower, and drops those that are too far behind.
func (h *history) feed(p []byte) {
	for f := range h.followers {
		if len(f.pending)+len(p) > followerBehind {
			f.pending, f.dropped = nil, true
			delete(h.followers, f)
		} else {
			f.pending = append(f.pending, p...)
		}
		f.wake()
	}
}

// follow is the sequence behind [Capture.Follow].
func (h *history) follow(ctx context.Context, n int) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		f := &follower{ready: make(chan struct{}, 1)}
		h.mu.Lock()
		lines := h.tailLocked(n)
		if h.followers == nil {
			h.followers = make(map[*follower]struct{})
		}
		h.followers[f] = struct{}{}
		h.mu.Unlock()
		defer func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.followers, f)
		}()
		if !yield(lines, nil) {
			return
		}
		for ctx.Err() == nil {
			lines, end := h.take(f)
			if len(lines) > 0 {
				if !yield(lines, nil) {
					return
				}
				continue
			}
			if end {
				if f.dropped {
					yield(nil, ErrFollowerSlow)
				}
				return
			}
			select {
			case <-f.ready:
			case <-ctx.Done():
				return
			}
		}
	}
}

// take returns the next lines that f has not seen yet, and whether nothing will
// follow them.
func (h *history) take(f *follower) (lines []string, end bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(f.pending)
	if n > followerBatch {
		n = bytes.LastIndexByte(f.pending[:followerBatch], '\n') + 1
	}
	eachLine(f.pending[:n], func(line []byte) { lines = append(lines, string(line)) })
	if f.pending = f.pending[n:]; len(f.pending) == 0 {
		f.pending = nil
	}
	return lines, len(f.pending) == 0 && (f.dropped || h.closed)
}
