package control

import (
	"context"
	"net"
	"sync"
)

// peer is who is at the other end of a unix socket.
type peer struct {
	PID int // 0 when it is in another pid namespace
	UID uint32
}

// maxStrangers is how many connections of peers that will be refused are open at a
// time, to be told so. More are closed unheard: they must not keep others waiting.
const maxStrangers = 8

// gate is a listener that lets a bounded number of connections in at a time. The
// others wait in the kernel's queue, where they cost gofork nothing.
type gate struct {
	net.Listener
	slots     chan struct{} // one token for each open connection
	stranger  func(net.Conn) bool
	strangers chan struct{} // likewise for those of strangers, who take no slots
	ended     <-chan struct{}
	closed    chan struct{}
	once      sync.Once
}

// newGate makes a gate in front of ln; stranger says who will be refused.
func newGate(ln net.Listener, conns int, stranger func(net.Conn) bool, ended <-chan struct{}) *gate {
	return &gate{
		Listener: ln, slots: make(chan struct{}, conns), ended: ended, closed: make(chan struct{}),
		stranger: stranger, strangers: make(chan struct{}, maxStrangers),
	}
}

// Accept waits for a free slot, then for a connection: never the other way round,
// or a connection would be accepted that nobody answers.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case g.slots <- struct{}{}:
	case <-g.ended:
		return nil, net.ErrClosed
	case <-g.closed:
		return nil, net.ErrClosed
	}
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			<-g.slots
			return nil, err
		}
		if !g.stranger(c) {
			return &gatedConn{Conn: c, leave: sync.OnceFunc(func() { <-g.slots })}, nil
		}
		select {
		case g.strangers <- struct{}{}:
			<-g.slots
			return &gatedConn{Conn: c, leave: sync.OnceFunc(func() { <-g.strangers })}, nil
		default:
			_ = c.Close() // nothing was said
		}
	}
}

func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Listener.Close()
}

// full says whether the next connection would have to wait.
func (g *gate) full() bool { return len(g.slots) == cap(g.slots) }

// gatedConn gives its slot back when it is closed, once.
type gatedConn struct {
	net.Conn
	leave func()
}

func (c *gatedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

type peerKey struct{}

// peerOutcome is what was found out at accept; it is a context value of every
// request of the connection.
type peerOutcome struct {
	peer peer
	err  error
}

// lookAt finds out who the peer of an accepted connection is.
func lookAt(c net.Conn) peerOutcome {
	peer, err := peerOf(c)
	return peerOutcome{peer, err}
}

// withPeer looks the peer up once for a connection, as http.Server.ConnContext.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if g, ok := c.(*gatedConn); ok {
		c = g.Conn
	}
	return context.WithValue(ctx, peerKey{}, lookAt(c))
}
