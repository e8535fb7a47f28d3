package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/gofork/gofork/pkg/tally"
)

// site is the way of a request to the handler. It is one function with branches
// instead of a chain of handlers, so that what is not configured costs a
// comparison.
type site struct {
	handler http.Handler // set before the first request

	table      *connTable
	forwarding forwarding
	log        *slog.Logger
	access     *accessLog    // nil: off
	timeout    time.Duration // 0 = off
	maxBody    int64         // 0 = no limit
	tally      *tally.Page   // nil: nobody wants to know

	maxRequests int64 // 0 = off
	requests    atomic.Int64
	recycle     chan<- struct{}
}

func newSite(spec Spec, opts Options, trusted trustedProxies, table *connTable, recycle chan<- struct{}) (*site, error) {
	s := &site{
		table:       table,
		log:         opts.Logger,
		timeout:     spec.RequestTimeout,
		maxBody:     spec.HTTP.MaxBody,
		maxRequests: int64(spec.MaxRequests),
		tally:       opts.Tally,
		recycle:     recycle,
	}
	switch spec.Access {
	case "", "off":
	case "record":
		s.access = &accessLog{log: opts.Logger}
	case "combined":
		s.access = &accessLog{out: opts.Stdout}
	default:
		return nil, fmt.Errorf("cannot set up log.access: %q: must be off, record or combined", spec.Access)
	}
	s.forwarding = forwarding{trusted: trusted, requestID: s.access != nil}
	return s, nil
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.maxRequests > 0 && s.requests.Add(1) == s.maxRequests {
		s.recycle <- struct{}{} // capacity 1, sent to once
	}
	rec := s.table.record(w, r)
	defer rec.end()
	if s.tally != nil {
		s.tally.Begin()
		defer s.counted(rec, time.Now())
	}
	r = s.forwarding.apply(r)
	handler := s.handler
	if s.maxBody > 0 && r.Body != http.NoBody {
		if r.ContentLength > s.maxBody {
			handler = http.HandlerFunc(refuseBody)
		}
		// With the server's own w: it closes the connection when the limit is hit.
		r.Body = http.MaxBytesReader(w, r.Body, s.maxBody)
	}
	s.serve(rec, r, handler)
}

func refuseBody(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 { // the rest of the body would be in the way
		w.Header().Set("Connection", "close")
	}
	http.Error(w, http.StatusText(http.StatusRequestEntityTooLarge), http.StatusRequestEntityTooLarge)
}

// bodyTooLarge reports whether reading a request body failed for max_body.
func bodyTooLarge(err error) bool {
	var tooLarge *http.MaxBytesError
	return errors.As(err, &tooLarge)
}

func (s *site) serve(rec *recorder, r *http.Request, handler http.Handler) {
	if s.access != nil {
		start := time.Now()
		id := requestID(r)
		rec.Header().Set(requestIDHeader, id)
		defer func() { s.access.record(r, rec, id, start) }()
	}
	defer func() {
		if v := recover(); v != nil {
			rec.aborted = true
			s.panicked(rec, r, v)
			rec.aborted = false
		}
	}()
	if s.timeout > 0 {
		s.serveTimed(rec, r, handler)
	} else {
		handler.ServeHTTP(rec, r)
	}
	if !rec.sent() {
		rec.announceClose() // the server answers for a handler that did not
	}
}

// panicked answers 500 if nothing was sent yet, else it breaks the connection,
// so that the client does not take half an answer for a whole one.
func (s *site) panicked(rec *recorder, r *http.Request, v any) {
	if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares the value too
		panic(v)
	}
	s.log.Error("panic in a request", "event", "request.panic", "panic", fmt.Sprint(v),
		"method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr, "stack", string(debug.Stack()))
	if rec.sent() {
		panic(http.ErrAbortHandler)
	}
	clearContent(rec.Header())
	rec.closeAfter()
	http.Error(rec, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
}

// clearContent removes what a handler said about an answer that another one
// replaces.
func clearContent(h http.Header) {
	for _, k := range []string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified", "Cache-Control", "Trailer", "Transfer-Encoding"} {
		h.Del(k)
	}
}
