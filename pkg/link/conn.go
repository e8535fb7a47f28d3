package link

import (
	"bufio"
	"bytes"
	"encoding/binary"
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
	received chan []Message
	done     chan struct{} // closed by Close: the reader stops waiting for its receiver

	mu      sync.Mutex
	queue   queue
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
	c := &Conn{stream: stream, received: make(chan []Message, 1), done: make(chan struct{})}
	c.wake = sync.NewCond(&c.mu)
	c.running.Go(c.read)
	c.running.Go(c.write)
	return c
}

// Received yields the peer's messages in their order, as many at a time as have
// come in, and is closed when the peer is gone. To hand each over by itself would
// wake the receiver's thread for each.
func (c *Conn) Received() <-chan []Message { return c.received }

// Send queues messages, in their order and with none of another sender between
// them. It never blocks and never fails: a peer that is gone shows in Received, one
// that takes nothing costs a bounded queue (see the package comment for what is
// dropped).
func (c *Conn) Send(messages ...Message) {
	c.mu.Lock()
	if !c.closing && !c.broken {
		for _, m := range messages {
			c.queue.add(m)
		}
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

// batch bounds what is handed over at a time, in messages.
const batch = 256

func (c *Conn) read() {
	defer close(c.received)
	r := bufio.NewReaderSize(c.stream, 64<<10)
	words := make(map[string]string)
	var long bytes.Buffer // the payload of a frame that is longer than r's buffer
	var messages []Message
	for {
		m, err := c.next(r, &long, words)
		if err != nil {
			return // io.EOF, a reset, or our own Close; a torn last frame is no message
		}
		messages = append(messages, m)
		if len(messages) < batch && frameBuffered(r) {
			continue
		}
		select {
		case c.received <- messages:
			messages = nil
		case <-c.done:
			return
		}
	}
}

func (c *Conn) next(r *bufio.Reader, long *bytes.Buffer, words map[string]string) (m Message, err error) {
	head, err := r.Peek(frameHead)
	if err != nil {
		return m, err
	}
	size, kind := int64(binary.LittleEndian.Uint32(head)), head[4]
	if size > frameLimit {
		return m, fmt.Errorf("cannot read a frame of %d bytes: at most %d", size, frameLimit)
	}
	if frameHead+size <= int64(r.Size()) {
		frame, err := r.Peek(frameHead + int(size))
		if err != nil {
			return m, err
		}
		if m, err = readFrame(kind, frame[frameHead:], words); err != nil {
			return m, err
		}
		_, err = r.Discard(len(frame))
		return m, err
	}
	if _, err := r.Discard(frameHead); err != nil {
		return m, err
	}
	// By and by, so that a length alone allocates nothing.
	if _, err := io.CopyN(long, r, size); err != nil {
		return m, err
	}
	m, err = readFrame(kind, long.Bytes(), words)
	*long = bytes.Buffer{} // an apply of a thousand specs is not kept
	return m, err
}

// frameBuffered says whether a whole frame has been read already.
func frameBuffered(r *bufio.Reader) bool {
	n := r.Buffered()
	if n < frameHead {
		return false
	}
	head, err := r.Peek(frameHead)
	return err == nil && frameHead+int64(binary.LittleEndian.Uint32(head)) <= int64(n)
}

// chunk is about how much is written at a time, in bytes.
const chunk = 32 << 10

func (c *Conn) write() {
	// The reader is woken by closing the stream, so the writer closes last.
	defer c.stream.Close()
	var frames []byte
	for {
		c.mu.Lock()
		for len(c.queue.messages) == 0 && !c.closing {
			c.wake.Wait()
		}
		messages, closing := c.queue.take(), c.closing
		c.mu.Unlock()
		for i := range messages {
			var err error
			if frames, err = appendFrame(frames, &messages[i]); err != nil {
				continue // it has a value that JSON lacks, such as options with a NaN
			}
			if len(frames) < chunk {
				continue
			}
			if _, err := c.stream.Write(frames); err != nil {
				c.drop()
				return
			}
			if frames = frames[:0]; cap(frames) > 4*chunk {
				frames = nil // a large apply is not kept
			}
		}
		if len(frames) > 0 {
			if _, err := c.stream.Write(frames); err != nil {
				c.drop()
				return
			}
			frames = frames[:0]
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
	c.queue.take()
	c.mu.Unlock()
}
