package link

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Pair makes the two ends of a line as raw, close-on-exec descriptors.
func Pair() (arbiter, manager int, err error) {
	fds, err := socketpair()
	if err != nil {
		return -1, -1, fmt.Errorf("cannot make the socket to the manager: %w", err)
	}
	return fds[0], fds[1], nil
}

// Conn is one end. It is safe for concurrent use.
type Conn struct {
	stream   io.ReadWriteCloser
	received chan Message
	done     chan struct{} // closed by Close: the reader stops waiting for its receiver

	mu      sync.Mutex
	queue   []Message
	wake    *sync.Cond
	closing bool // Close was called: write what is queued, then end
	broken  bool // the peer takes nothing any more

	closed sync.Once

	running sync.WaitGroup
}

// Open makes a Conn of a raw descriptor from [Pair] and owns it from then on.
func Open(fd int) (*Conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("cannot use descriptor %d as the link: %w", fd, err)
	}
	f := os.NewFile(uintptr(fd), "link")
	c, err := net.FileConn(f) // a duplicate that the netpoller knows
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot use descriptor %d as the link: %w", fd, err)
	}
	return New(c), nil
}

// New makes a Conn of a stream. Close ends it and waits for its goroutines.
func New(stream io.ReadWriteCloser) *Conn {
	c := &Conn{stream: stream, received: make(chan Message, 16), done: make(chan struct{})}
	c.wake = sync.NewCond(&c.mu)
	c.running.Go(c.read)
	c.running.Go(c.write)
	return c
}

// Received yields the peer's messages and is closed when the peer is gone.
func (c *Conn) Received() <-chan Message { return c.received }

// Send queues a message. It never blocks and never fails: a peer that is gone
// shows in Received.
func (c *Conn) Send(m Message) {
	c.mu.Lock()
	if !c.closing && !c.broken {
		c.queue = append(c.queue, m)
	}
	c.mu.Unlock()
	c.wake.Signal()
}

// Close writes what is queued, for at most a second (the peer may be stopped),
// closes the stream and waits for both goroutines.
func (c *Conn) Close() {
	c.closed.Do(func() {
		c.mu.Lock()
		c.closing = true
		c.mu.Unlock()
		if s, ok := c.stream.(interface{ SetWriteDeadline(time.Time) error }); ok {
			_ = s.SetWriteDeadline(time.Now().Add(time.Second)) // closed already: there is nothing to bound
		}
		c.wake.Signal()
		close(c.done)
	})
	c.running.Wait()
}

func (c *Conn) read() {
	defer close(c.received)
	decoder := json.NewDecoder(bufio.NewReaderSize(c.stream, 32<<10))
	for {
		var m Message
		if err := decoder.Decode(&m); err != nil {
			return // io.EOF, a reset, or our own Close; a torn last line is no message
		}
		select {
		case c.received <- m:
		case <-c.done:
			return
		}
	}
}

func (c *Conn) write() {
	// The reader is woken by closing the stream, so the writer closes last.
	defer c.stream.Close()
	w := bufio.NewWriterSize(c.stream, 32<<10)
	encoder := json.NewEncoder(w)
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.closing {
			c.wake.Wait()
		}
		batch, closing := c.queue, c.closing
		c.queue = nil
		c.mu.Unlock()
		for i := range batch {
			if err := encoder.Encode(&batch[i]); err != nil {
				if isEncodeError(err) {
					continue
				}
				c.drop()
				return
			}
		}
		if err := w.Flush(); err != nil {
			c.drop()
			return
		}
		if closing {
			return
		}
	}
}

// drop forgets what a dead peer will never read and refuses more of it.
func (c *Conn) drop() {
	c.mu.Lock()
	c.broken = true
	c.queue = nil
	c.mu.Unlock()
}

// isEncodeError tells a message that cannot be written as JSON (options with a
// value that JSON lacks, such as NaN) from a stream that is broken.
func isEncodeError(err error) bool {
	var value *json.UnsupportedValueError
	var typ *json.UnsupportedTypeError
	var marshal *json.MarshalerError
	return errors.As(err, &value) || errors.As(err, &typ) || errors.As(err, &marshal)
}
