package worker

import (
	"context"
	"crypto/tls"
	"net"
)

// Draining returns a channel that is closed when the worker begins to drain. ctx
// is the context of a request that the worker serves, or one made from it; for
// any other the channel is nil, which is never ready.
//
// Most handlers need not know: a drain waits for a running request, for
// worker.graceful_timeout at most. One whose requests have no end of their own
// should end them, since the client's next connection reaches another worker:
//
//	select {
//	case e := <-events:
//		send(w, e)
//	case <-worker.Draining(r.Context()):
//		return // with a close frame first, if it is a WebSocket
//	}
func Draining(ctx context.Context) <-chan struct{} {
	if c := connOf(ctx); c != nil {
		return c.table.draining
	}
	return nil
}

type connKey struct{}

// withConn is the server's ConnContext hook, called once a connection.
func withConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, unwrap(nc))
}

// connOf returns the connection that a request came on, nil outside of a worker.
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}

// unwrap returns the connection below what the server holds, nil if there is none.
func unwrap(nc net.Conn) *conn {
	switch h := nc.(type) {
	case *http2Conn:
		nc = h.Conn
	case *http2TLSConn:
		nc = h.tls
	}
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	c, _ := nc.(*conn)
	return c
}
