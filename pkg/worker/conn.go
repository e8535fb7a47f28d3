package worker

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What a connection is doing, as far as the drain is concerned.
const (
	waiting  int32 = iota // for the first byte of a request
	busy                  // from the first byte of a request to the end of its answer, or hijacked
	answered              // from there until the server reads again: it may have the next request in its buffers
	claimed               // by the drain, which closes it
)

// conn is a connection of the worker. It exists because net/http tells nobody
// when it has read the first byte of a request: its own state changes only after
// the last byte of the header, and a connection closed between the two loses
// the request.
//
// waiting → busy and answered → waiting are done by whoever reads (Read), the
// way to busy and to answered by the server (follow), waiting → claimed by the
// drain (expire). Only a connection that waits is ever claimed.
type conn struct {
	net.Conn
	table *connTable
	proxy *proxyHeader // nil: none is expected

	// outer is what the server holds: this, or the TLS connection around it.
	// Closing it says goodbye in TLS. Set before the server reads.
	outer net.Conn

	state  atomic.Int32
	since  atomic.Int64              // when it began to wait, in ns after table.begun, known only while draining
	http2  atomic.Pointer[http2Conn] // nil: HTTP/1, as far as it is known
	closed sync.Once

	recorder recorder // of the HTTP/1 request that runs; belongs to the server's goroutine
}

func (c *conn) Read(p []byte) (int, error) {
	if c.state.Load() == answered {
		c.state.CompareAndSwap(answered, waiting)
	}
	n, err := c.read(p)
	// A frame of HTTP/2 may be anything: there follow alone knows of requests.
	if n > 0 && c.state.Load() != busy && c.http2.Load() == nil {
		c.state.CompareAndSwap(waiting, busy)
	}
	return n, err
}

func (c *conn) read(p []byte) (int, error) {
	if c.proxy != nil {
		if n, err := c.proxy.readRest(c.Conn, p); n > 0 || err != nil {
			return n, err
		}
	}
	return c.Conn.Read(p)
}

// ReadFrom keeps sendfile(2) and splice(2), which net/http looks for.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if rf, ok := c.Conn.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// CloseWrite lets net/http close gently after an answer to a request whose body
// it did not read.
func (c *conn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// RemoteAddr is the client's, which a PROXY header may tell; then it blocks
// until the header was read. The server calls it on the connection's goroutine.
func (c *conn) RemoteAddr() net.Addr {
	if c.proxy != nil {
		if a := c.proxy.source(c.Conn); a != nil {
			return a
		}
	}
	return c.Conn.RemoteAddr()
}

// LocalAddr is the address that the client connected to, as RemoteAddr.
func (c *conn) LocalAddr() net.Addr {
	if c.proxy != nil {
		if a := c.proxy.destination(c.Conn); a != nil {
			return a
		}
	}
	return c.Conn.LocalAddr()
}

// SyscallConn is for handlers that hijack the connection.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, syscall.ENOTSUP
}

func (c *conn) Close() error {
	err := net.ErrClosed
	c.closed.Do(func() {
		err = c.Conn.Close()
		c.table.remove(c)
	})
	return err
}

// dueAt returns when the connection has waited for delay, counted from start at
// the earliest; ok is false when it waits for nothing. An HTTP/2 connection waits
// from its farewell on, whatever it does.
func (c *conn) dueAt(start time.Time, delay time.Duration) (due time.Time, ok bool) {
	if h := c.http2.Load(); h != nil {
		return h.dueAt(delay), true
	}
	// since first: the server writes it before state.
	since := c.table.begun.Add(time.Duration(c.since.Load()))
	if c.state.Load() != waiting {
		return time.Time{}, false
	}
	if since.Before(start) {
		since = start
	}
	return since.Add(delay), true
}

// expire closes a connection that waits and to which no byte of a request has
// come. The server, which is blocked in Read, then ends its goroutine.
func (c *conn) expire() {
	if hasBytes(c.Conn) {
		return // the reader is waking up right now
	}
	// The reader may take a byte between the look and this. Then it has made the
	// connection busy, unless it is interrupted between its system call and its
	// next instruction.
	//
	// The server reads an HTTP/2 connection all the time, so it may be idle without
	// having begun to read again.
	if c.state.CompareAndSwap(waiting, claimed) || c.http2.Load() != nil && c.state.CompareAndSwap(answered, claimed) {
		_ = c.outer.Close()
	}
}

// hasBytes reports whether something can be read from the socket, without
// blocking and without taking it.
func hasBytes(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	found := false
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		found = err == nil && n > 0
	})
	return found
}

// connTable knows every open connection, hijacked ones included.
type connTable struct {
	begun    time.Time     // what moments are counted from: a clock that is set moves none of them
	draining chan struct{} // closed when the drain begins
	empty    chan struct{} // capacity 1: sent to when the last connection leaves
	heard    chan struct{} // capacity 1: sent to when an HTTP/2 client has heard the farewell

	mu    sync.Mutex
	conns map[*conn]struct{}
}

func newConnTable() *connTable {
	return &connTable{
		begun: time.Now(), draining: make(chan struct{}), empty: make(chan struct{}, 1), heard: make(chan struct{}, 1),
		conns: make(map[*conn]struct{}),
	}
}

func (t *connTable) isDraining() bool {
	select {
	case <-t.draining:
		return true
	default:
		return false
	}
}

func (t *connTable) add(nc net.Conn, policy *proxyPolicy) *conn {
	c := &conn{Conn: nc, table: t}
	c.outer = c
	if policy != nil {
		c.proxy = policy.expect(nc.RemoteAddr())
	}
	if t.isDraining() {
		c.since.Store(int64(time.Since(t.begun)))
	}
	t.mu.Lock()
	t.conns[c] = struct{}{}
	t.mu.Unlock()
	return c
}

func (t *connTable) remove(c *conn) {
	t.mu.Lock()
	delete(t.conns, c)
	n := len(t.conns)
	t.mu.Unlock()
	if n == 0 {
		select {
		case t.empty <- struct{}{}:
		default:
		}
	}
}

func (t *connTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.conns)
}

// list returns a copy, because closing a connection takes the lock.
func (t *connTable) list() []*conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*conn, 0, len(t.conns))
	for c := range t.conns {
		list = append(list, c)
	}
	return list
}

// follow is the server's ConnState hook, called for every request.
func (t *connTable) follow(nc net.Conn, state http.ConnState) {
	c := unwrap(nc)
	if c == nil {
		return
	}
	switch state {
	case http.StateNew:
		c.outer = nc
	case http.StateActive, http.StateHijacked:
		c.state.Store(busy)
	case http.StateIdle:
		// A drain that begins between these lines finds "before the drain" and
		// counts from its own start, which is now.
		if t.isDraining() {
			c.since.Store(int64(time.Since(t.begun)))
		}
		c.state.Store(answered)
	}
}
