package worker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"maps"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/gofork/gofork/pkg/config"
)

// server is net/http on the worker's listeners, with a graceful end in which
// HTTP/1 and HTTP/2 are treated differently.
//
// http.Server.Shutdown is what sends GOAWAY, but for HTTP/1 it also closes
// waiting connections at once and drops requests whose header it is reading. So
// HTTP/2 is configured on a second http.Server that never listens: only its
// protocol functions are used (http.Server.TLSNextProto), and shutting it down
// reaches the HTTP/2 connections alone.
type server struct {
	http1 *http.Server // accepts everything
	http2 *http.Server
	table *connTable
	site  *site

	listeners []*listener
	tls       bool
	recycle   chan struct{} // receives once when max_requests is reached

	accepting chan struct{} // closed when every listener is being accepted from
	ended     chan struct{} // closed when every listener is closed
	failed    chan error    // receives when a listener ends that nobody closed
	serving   sync.WaitGroup
	telling   sync.WaitGroup // farewells; close ends those whose client does not read
	started   bool
}

func newServer(spec Spec, opts Options, listeners []net.Listener) (*server, error) {
	h := spec.HTTP
	s := &server{
		table:     newConnTable(),
		tls:       h.TLSCert != "",
		recycle:   make(chan struct{}, 1),
		accepting: make(chan struct{}),
		ended:     make(chan struct{}),
		failed:    make(chan error, len(listeners)),
	}
	trusted, err := parseTrusted(h.TrustedProxies)
	if err != nil {
		return nil, err
	}
	if s.site, err = newSite(spec, opts, trusted, s.table, s.recycle); err != nil {
		return nil, err
	}
	if err := s.configure(h, newErrorLog(opts.Logger, "http server")); err != nil {
		return nil, err
	}
	var proxy *proxyPolicy
	if h.ProxyProtocol {
		proxy = &proxyPolicy{trusted: trusted, wait: h.ReadHeaderTimeout, log: opts.Logger}
	}
	missing := new(atomic.Int32)
	missing.Store(int32(len(listeners)))
	accepting := func() {
		if missing.Add(-1) == 0 {
			close(s.accepting)
		}
	}
	for _, l := range listeners {
		s.listeners = append(s.listeners, &listener{Listener: l, table: s.table, proxy: proxy, accepting: accepting})
	}
	return s, nil
}

func (s *server) configure(h config.HTTP, errorLog *log.Logger) error {
	s.http1 = &http.Server{
		Handler:           s.site,
		ReadHeaderTimeout: h.ReadHeaderTimeout,
		ReadTimeout:       h.ReadTimeout,
		WriteTimeout:      h.WriteTimeout,
		IdleTimeout:       h.IdleTimeout,
		MaxHeaderBytes:    int(min(h.MaxHeader, math.MaxInt32)),
		ConnState:         s.table.follow,
		ConnContext:       withConn,
		ErrorLog:          errorLog,
		Protocols:         new(http.Protocols),
	}
	s.http1.Protocols.SetHTTP1(true)
	if s.tls {
		cert, err := tls.LoadX509KeyPair(h.TLSCert, h.TLSKey)
		if err != nil {
			return fmt.Errorf("cannot load certificate %q with key %q: %w", h.TLSCert, h.TLSKey, err)
		}
		s.http1.TLSConfig = &tls.Config{
			Certificates: []tls.Certificate{cert},
			NextProtos:   []string{"h2", "http/1.1"},
			MinVersion:   tls.VersionTLS12,
		}
	}

	all := new(http.Protocols)
	all.SetHTTP1(true)
	all.SetHTTP2(true)
	all.SetUnencryptedHTTP2(true)
	s.http2 = &http.Server{Protocols: all, IdleTimeout: h.IdleTimeout, ReadTimeout: h.ReadTimeout, ErrorLog: errorLog}
	// Serve configures HTTP/2 before it accepts for the first time.
	if err := s.http2.Serve(noListener{}); !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("cannot set up HTTP/2: %w", err)
	}
	if _, ok := s.http2.TLSNextProto["h2"]; !ok {
		return nil // switched off with GODEBUG=http2server=0
	}
	s.http1.TLSNextProto = gracefulHTTP2(s.table, maps.Clone(s.http2.TLSNextProto))
	s.http1.Protocols.SetHTTP2(s.tls)
	s.http1.Protocols.SetUnencryptedHTTP2(!s.tls)
	return nil
}

// start serves h on every listener until release or close.
func (s *server) start(h http.Handler) {
	s.started = true
	s.site.handler = h
	for _, l := range s.listeners {
		s.serving.Go(func() {
			if err := s.serve(l); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
				s.failed <- fmt.Errorf("cannot accept on %s: %w", l.Addr(), err)
			}
		})
	}
	go func() {
		s.serving.Wait()
		close(s.ended)
	}()
}

func (s *server) serve(l net.Listener) error {
	if s.tls {
		return s.http1.ServeTLS(l, "", "")
	}
	return s.http1.Serve(l)
}

// release lets go of the listeners and tells HTTP/2 clients; connections live on.
func (s *server) release() {
	for _, l := range s.listeners {
		l.release()
	}
	for _, c := range s.table.list() {
		if h := c.http2.Load(); h != nil {
			s.telling.Go(h.farewell) // a client that does not read is nobody's affair
		}
	}
}

// goAway sends the last GOAWAY on every HTTP/2 connection, once each: what is not
// known by now is not served, and the connection ends with the last running
// request.
func (s *server) goAway() {
	// That server has neither listeners nor connections to wait for, so this
	// returns at once.
	_ = s.http2.Shutdown(context.Background())
}

// close ends everything, running requests included, and waits for the accept
// loops. It may be called in any phase.
func (s *server) close() {
	for _, l := range s.listeners {
		_ = l.Listener.Close()
	}
	_ = s.http1.Close()
	if s.started {
		<-s.ended
	}
	for _, c := range s.table.list() { // hijacked ones
		_ = c.Close()
	}
	s.telling.Wait()
}

// noListener accepts nothing.
type noListener struct{}

func (noListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (noListener) Close() error              { return nil }
func (noListener) Addr() net.Addr            { return &net.UnixAddr{} }
