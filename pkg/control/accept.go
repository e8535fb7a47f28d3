package control

import (
	"context"
	"net"
	"sync"
)

// Peer is who is at the other end of a unix socket.
type Peer struct {
	PID int // 0 when it is in another pid namespace
	UID uint32
}

// gate is a listener that lets a bounded number of connections in at a time. The
// others wait in the kernel's queue, where they cost gofork nothing.
type gate struct {
	net.Listener
	slots  chan struct{} // one token for each open connection
	ended  <-chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newGate(ln net.Listener, conns int, ended <-chan struct{}) *gate {
	return &gate{Listener: ln, slots: make(chan struct{}, conns), ended: ended, closed: make(chan struct{})}
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
	c, err := g.Listener.Accept()
	if err != nil {
		<-g.slots
		return nil, err
	}
	return &gatedConn{Conn: c, leave: sync.OnceFunc(func() { <-g.slots })}, nil
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
	peer Peer
	err  error
}

// withPeer looks the peer up once for a connection, as http.Server.ConnContext.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if g, ok := c.(*gatedConn); ok {
		c = g.Conn
	}
	peer, err := peerOf(c)
	return context.WithValue(ctx, peerKey{}, peerOutcome{peer, err})
}
