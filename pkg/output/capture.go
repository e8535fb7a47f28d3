package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Reads are small until one brings smallRead bytes: most wake-ups are for a line.
	smallRead = 64 << 10
	largeRead = pipeSize
)

// Captures makes the captures of one supervisor, which share their read
// buffers. The zero value is ready; it must not be copied.
type Captures struct {
	small, large sync.Pool // of *[]byte, each with room for an unfinished line before what is read
}

func (s *Captures) buffer(large bool) *[]byte {
	pool, size := &s.small, MaxLine+smallRead
	if large {
		pool, size = &s.large, MaxLine+largeRead
	}
	if b, ok := pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, size)
	return &b
}

func (s *Captures) release(b *[]byte, large bool) {
	if large {
		s.large.Put(b)
	} else {
		s.small.Put(b)
	}
}

// sink is where the lines of one stream go. Its methods are called one at a time.
type sink interface {
	whole(lines []byte) // one or more whole lines, each with its newline
	cut(line []byte)    // a piece of a line that was split, with SplitMark and a newline
	idle()              // nothing more to read at the moment: what is buffered goes out
	reopen() error
	close() error
}

// Capture reads one output stream of one instance over all its restarts.
type Capture struct {
	shared *Captures
	file   *os.File // read end, on the netpoller; never Fd(), which would make it block
	conn   syscall.RawConn
	sink   sink

	history history

	reading sync.Mutex // held for one read and its way to the sink
	partial []byte     // the unfinished last line, at most MaxLine
	burst   bool       // the last read was no small one
	ended   bool       // the sink is closed

	closing  sync.Once
	deadline chan time.Time // capacity 1: until when Close drains
	done     chan struct{}  // closed when the goroutine has ended
	err      error          // why; read it after done
}

// start takes over fd, also when it fails.
func (s *Captures) start(fd int, to sink) (*Capture, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot capture output from descriptor %d: %w", fd, err)
	}
	file := os.NewFile(uintptr(fd), "output pipe")
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot capture output from descriptor %d: %w", fd, err)
	}
	c := &Capture{
		shared:   s,
		file:     file,
		conn:     conn,
		sink:     to,
		deadline: make(chan time.Time, 1),
		done:     make(chan struct{}),
	}
	go c.run()
	return c, nil
}

// run reads until every writer is gone or Close ends it.
func (c *Capture) run() {
	defer close(c.done)
	err := c.readUntil(func(err error) bool { return errors.Is(err, unix.EAGAIN) })
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = c.drain(<-c.deadline)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	// Not under the lock: closing the file waits for a Settle in progress.
	c.err = errors.Join(err, c.finish(), c.file.Close())
}

// finish ends the sink and the history; reads after it find the end of the stream.
func (c *Capture) finish() error {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.settle()
	c.ended = true
	c.history.close()
	return c.sink.close()
}

// readUntil reads until an error that is not worth waiting for.
func (c *Capture) readUntil(wait func(error) bool) error {
	for {
		var err error
		waitErr := c.conn.Read(func(fd uintptr) bool {
			_, err = c.read(int(fd), largeRead)
			return !wait(err)
		})
		if waitErr != nil {
			return waitErr // the deadline that Close set
		}
		if err != nil {
			return err
		}
	}
}

// drain takes what is still in the pipe, but stops at the deadline: a child
// that nobody could end may go on printing.
func (c *Capture) drain(deadline time.Time) error {
	var err error
	ctlErr := c.conn.Control(func(fd uintptr) {
		for err == nil && time.Now().Before(deadline) {
			_, err = c.read(int(fd), largeRead)
		}
	})
	if errors.Is(err, unix.EAGAIN) {
		err = nil
	}
	return errors.Join(ctlErr, err)
}

// read reads once, at most limit bytes, and passes on what became whole lines.
// It never blocks on the pipe: unix.EAGAIN says that it is empty, io.EOF that
// it has no writer any more.
func (c *Capture) read(fd, limit int) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.ended {
		return 0, io.EOF
	}
	large := c.burst
	b := c.shared.buffer(large)
	defer c.shared.release(b, large)
	held := copy(*b, c.partial)
	room := (*b)[held:min(len(*b), held+limit)]
	n, err := readNoIntr(fd, room)
	if n <= 0 {
		if errors.Is(err, unix.EAGAIN) {
			c.sink.idle()
			return 0, err
		}
		if err == nil {
			err = io.EOF
		}
		return 0, err
	}
	c.burst = n >= smallRead
	c.keep(splitLines((*b)[:held+n], c.whole, c.cut))
	return n, nil
}

func readNoIntr(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func (c *Capture) whole(lines []byte) {
	c.sink.whole(lines)
	c.history.add(lines)
}

func (c *Capture) cut(piece []byte) {
	line := make([]byte, 0, MaxLine+1)
	line = append(line, piece...)
	line = append(line, SplitMark...)
	line = append(line, '\n')
	c.sink.cut(line)
	c.history.add(line)
}

// keep stores the unfinished line, and lets go of the room that a long one took.
func (c *Capture) keep(rest []byte) {
	const usual = 1 << 10
	if cap(c.partial) > usual && len(rest) <= usual {
		c.partial = nil
	}
	c.partial = append(c.partial[:0], rest...)
}

// settle passes on an unfinished line as if its newline had come.
func (c *Capture) settle() {
	if len(c.partial) > 0 {
		line := append(c.partial, '\n')
		c.partial = nil
		c.whole(line)
	}
	c.sink.idle()
}

// Settle takes what is in the pipe at this moment and ends an unfinished line.
// A supervisor calls it when it has reaped the child, so that the last lines
// are complete for the crash report and the next child begins a line of its
// own. It takes as long as the sink takes for at most a full pipe, so a loop
// that must not wait for a disk calls it from a goroutine.
func (c *Capture) Settle() {
	_ = c.conn.Control(func(fd uintptr) { // an error means closed: finish has done all this
		left, err := unix.IoctlGetInt(int(fd), fionread)
		for err == nil && left > 0 {
			var n int
			n, err = c.read(int(fd), left)
			left -= n
		}
		c.reading.Lock()
		defer c.reading.Unlock()
		if !c.ended {
			c.settle()
		}
	})
}

// Tail returns the last n lines, oldest first, at most [HistoryLines] and at
// most 128 KiB of them. It never waits for the sink.
func (c *Capture) Tail(n int) []string { return c.history.tail(n) }

// Follow yields the last n lines at once, also when there are none, and then the new
// ones, as many at a time as there are and 64 KiB hold, until ctx is done or the
// capture is closed and read to its end. Nothing that is printed after the first
// element is missing. A caller that falls 4 MiB behind gets [ErrFollowerSlow] as the last element;
// the child never waits for it.
func (c *Capture) Follow(ctx context.Context, n int) iter.Seq2[[]string, error] {
	return c.history.follow(ctx, n)
}

// Reopen opens the file of a [Captures.File] again under its name (USR1); it
// does nothing for other captures. On an error the old file stays in use.
func (c *Capture) Reopen() error { return c.sink.reopen() }

// Done is closed when the stream has ended: after Close, or when no process
// holds the write end any more.
func (c *Capture) Done() <-chan struct{} { return c.done }

// Close ends the capture: it takes what is in the pipe, for as long as within at
// most when a writer goes on printing, ends an unfinished line, closes the
// sink and the read end, and waits for the goroutine. It returns why the stream
// ended early or could not be closed; further calls return the same.
func (c *Capture) Close(within time.Duration) error {
	c.closing.Do(func() {
		c.deadline <- time.Now().Add(within)
		// An error means that the stream has ended by itself already.
		_ = c.file.SetReadDeadline(time.Unix(1, 0))
	})
	<-c.done
	return c.err
}
