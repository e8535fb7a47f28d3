package worker

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// nextProtoPlain is the key of http.Server.TLSNextProto for HTTP/2 without
	// TLS. net/http reads the preface before it hands such a connection over,
	// inside of a *tls.Conn that is none, below a method UnencryptedNetConn.
	nextProtoPlain = "unencrypted_http2"

	http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

	// No more streams, please; all that come nevertheless are served: GOAWAY with
	// the last stream identifier 2^31-1 and NO_ERROR (RFC 9113, section 6.8). The
	// PING behind it is answered by a client that has read both.
	http2Farewell = "\x00\x00\x08" + "\x07\x00" + "\x00\x00\x00\x00" + "\x7f\xff\xff\xff" + "\x00\x00\x00\x00" +
		"\x00\x00\x08" + "\x06\x00" + "\x00\x00\x00\x00" + "farewell"
	http2FrameHeader = 9
	http2PingType    = 0x6
	http2GoAwayType  = 0x7
	http2Ack         = 0x1

	// http2Settle is for requests of a client that has heard the farewell: some had
	// begun, and were not written when the PING was answered.
	http2Settle = 50 * time.Millisecond
)

// http2Conn is an HTTP/2 connection as the server holds it. It exists because
// net/http ends one with a single GOAWAY, which names the last stream that it has
// read, and ignores the requests that were on their way to it: a client that cannot
// send them again has lost them. The RFC's way has two steps, and this does the
// first: a GOAWAY that refuses nothing, written between two frames of the server's.
// The second is the server's own, when the client has heard the first, a drain
// delay later if it does not say so (process.expire).
//
// Frames are followed as they are written, from the first on. Whoever has written
// looks whether the farewell is due, and whoever wants it sent tries to, so that
// nobody waits for a frame to end.
type http2Conn struct {
	net.Conn
	table *connTable
	due   atomic.Bool // the farewell has to be written
	told  moment      // it was asked for
	heard moment      // the client had read it
	last  bool        // the last GOAWAY was said; belongs to the drain

	in frames // belongs to the reader

	mu  sync.Mutex // over the writing of everything
	out frames
}

// moment is when something was first the case: in ns after connTable.begun, so
// that a clock that is set does not move it, and 1. 0: never yet.
type moment struct{ ns atomic.Int64 }

// come reports whether it comes now for the first time.
func (m *moment) come(t *connTable) bool {
	return m.ns.CompareAndSwap(0, int64(time.Since(t.begun))+1)
}

func (m *moment) at(t *connTable) (when time.Time, ok bool) {
	ns := m.ns.Load()
	return t.begun.Add(time.Duration(ns - 1)), ns != 0
}

// dueAt returns when the last GOAWAY may be said.
func (h *http2Conn) dueAt(delay time.Duration) time.Time {
	told, ok := h.told.at(h.table)
	if !ok {
		told = time.Now() // or soon: another goroutine is about to
	}
	due := told.Add(delay)
	if heard, ok := h.heard.at(h.table); ok {
		if settled := heard.Add(http2Settle); settled.Before(due) {
			return settled
		}
	}
	return due
}

func (h *http2Conn) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.in.follow(p[:n])
	// The server sends no PING of its own.
	if h.in.pinged && h.heard.come(h.table) {
		h.table.farewellHeard()
	}
	return n, err
}

// farewell asks the client for no more requests, once. It may block as long as
// the client does not read.
func (h *http2Conn) farewell() {
	if h.told.come(h.table) {
		h.due.Store(true)
		h.flush()
	}
}

func (h *http2Conn) Write(p []byte) (int, error) {
	h.mu.Lock()
	n, err := h.Conn.Write(p)
	h.out.follow(p[:n])
	h.mu.Unlock()
	h.flush()
	return n, err
}

// flush writes the farewell if it is due and nothing is in its way. What is in
// its way is somebody who calls flush afterwards: a Write that runs, or the one
// that ends the frame.
func (h *http2Conn) flush() {
	for h.due.Load() && h.mu.TryLock() {
		between := h.out.between()
		if between && h.due.CompareAndSwap(true, false) && !h.out.ended {
			// Without it the connection is broken, which the server notices.
			_, _ = io.WriteString(h.Conn, http2Farewell)
		}
		h.mu.Unlock()
		if !between {
			return
		}
	}
}

// frames follows the frames of HTTP/2 (RFC 9113, section 4.1) in what one side
// writes.
type frames struct {
	head   [5]byte // length, type and flags of the frame
	have   int     // bytes of head
	rest   int     // bytes of the frame after head
	any    bool    // a frame is complete
	ended  bool    // there was a GOAWAY: another one may not allow more
	pinged bool    // there was an answer to a PING
}

func (f *frames) follow(p []byte) {
	for len(p) > 0 {
		if f.have < len(f.head) {
			n := copy(f.head[f.have:], p)
			f.have, p = f.have+n, p[n:]
			if f.have == len(f.head) {
				length := int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
				f.rest = http2FrameHeader - len(f.head) + length
				kind, flags := f.head[3], f.head[4]
				f.ended = f.ended || kind == http2GoAwayType
				f.pinged = f.pinged || kind == http2PingType && flags&http2Ack != 0
			}
			continue
		}
		n := min(f.rest, len(p))
		f.rest, p = f.rest-n, p[n:]
		if f.rest == 0 {
			f.have, f.any = 0, true
		}
	}
}

// between reports whether another frame may be put in: not before the first, which
// has to be SETTINGS.
func (f *frames) between() bool { return f.have == 0 && f.any }

// http2TLSConn is one over TLS. The server looks at the state, and the preface has
// to be read first.
type http2TLSConn struct {
	*http2Conn
	tls     *tls.Conn
	preface int // bytes of it that were read; belongs to the reader
}

func (h *http2TLSConn) ConnectionState() tls.ConnectionState { return h.tls.ConnectionState() }

func (h *http2TLSConn) Read(p []byte) (int, error) {
	for h.preface < len(http2Preface) {
		var b [len(http2Preface)]byte
		n, err := h.tls.Read(b[h.preface:])
		if string(b[h.preface:h.preface+n]) != http2Preface[h.preface:h.preface+n] {
			return 0, errPreface
		}
		h.preface += n
		if err != nil {
			return 0, err
		}
	}
	return h.http2Conn.Read(p)
}

var errPreface = errors.New("the client does not begin as HTTP/2 does")

// plainCarrier is how a connection without TLS is handed to a function that takes
// a *tls.Conn.
type plainCarrier struct {
	net.Conn // nil: nothing else is called
	conn     net.Conn
}

func (c plainCarrier) UnencryptedNetConn() net.Conn { return c.conn }

type protoHandlers = map[string]func(*http.Server, *tls.Conn, http.Handler)

// gracefulHTTP2 puts an http2Conn in front of net/http's HTTP/2, for both ways to
// come there. As this leans on how net/http is made inside, what it does not know
// is passed on as it is.
func gracefulHTTP2(table *connTable, of protoHandlers) protoHandlers {
	serve, ok := of[nextProtoPlain]
	if !ok {
		return of
	}
	hand := func(server *http.Server, nc net.Conn, handler http.Handler) {
		serve(server, tls.Client(plainCarrier{conn: nc}, nil), handler)
	}
	return protoHandlers{
		"h2": func(server *http.Server, tc *tls.Conn, handler http.Handler) {
			hand(server, &http2TLSConn{http2Conn: table.http2(unwrap(tc), tc), tls: tc}, handler)
		},
		nextProtoPlain: func(server *http.Server, tc *tls.Conn, handler http.Handler) {
			carrier, ok := tc.NetConn().(interface{ UnencryptedNetConn() net.Conn })
			if !ok {
				serve(server, tc, handler)
				return
			}
			nc := carrier.UnencryptedNetConn()
			hand(server, table.http2(unwrap(nc), nc), handler)
		},
	}
}

// http2 notes that a connection is HTTP/2 from now on.
func (t *connTable) http2(c *conn, outer net.Conn) *http2Conn {
	h := &http2Conn{Conn: outer, table: t}
	c.http2.Store(h)
	// A drain that begins between these lines finds it in the table.
	if t.isDraining() {
		h.farewell()
	}
	return h
}

// farewellHeard has the drain look when the connection is due.
func (t *connTable) farewellHeard() {
	select {
	case t.heard <- struct{}{}:
	default:
	}
}
