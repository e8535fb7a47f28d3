package worker

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// ErrRequestTimeout is the cause (context.Cause) of a request's context that
// ended because worker.request_timeout ran out. It is context.DeadlineExceeded
// for errors.Is.
var ErrRequestTimeout = fmt.Errorf("request_timeout ran out: %w", context.DeadlineExceeded)

const (
	timeoutBody = "Service Unavailable: the request took too long\n"
	// timeoutWrite bounds the writing of the 503 itself.
	timeoutWrite = 5 * time.Second
)

// serveTimed runs the handler under the request timeout. When it runs out the
// request's context ends, and the client gets 503 at once if nothing was sent,
// even while a handler that ignores its context goes on; what that handler
// writes later fails with http.ErrHandlerTimeout. If the answer had begun, the
// connection breaks when the handler returns.
//
// http.TimeoutHandler would do it too, but it holds back every answer to its
// end, which breaks streaming, and runs each handler on a goroutine of its own.
func (s *site) serveTimed(rec *recorder, r *http.Request, handler http.Handler) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	w := &timedWriter{rec: rec, header: rec.Header().Clone(), expired: make(chan struct{})}
	if w.header == nil {
		w.header = make(http.Header)
	}
	w.timer = time.AfterFunc(s.timeout, func() {
		defer close(w.expired)
		cancel(ErrRequestTimeout)
		if answered, ok := w.expire(); ok {
			s.log.Warn("request timeout", "event", "request.timeout", "clock", "request_timeout",
				"timeout", s.timeout, "answered", answered,
				"method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr)
		}
	})
	returned := false
	defer func() {
		if w.finish() && returned {
			panic(http.ErrAbortHandler)
		}
	}()
	handler.ServeHTTP(w, r.WithContext(ctx))
	returned = true
}

// timedWriter is shared by the handler's goroutine and the timer's. Everything is
// guarded by mu but header, the handler's own until it is sent: the server's
// header map is only touched with mu held.
type timedWriter struct {
	header  http.Header
	timer   *time.Timer
	expired chan struct{} // closed when the timer's function has returned

	mu       sync.Mutex
	rec      *recorder
	over     bool // the clock ran out
	cut      bool // … after the answer had begun
	finished bool // the handler returned, or took the connection
}

// expire answers 503 if nothing was sent, and returns what the client got: "503"
// or "cut". ok is false when the handler was done.
func (w *timedWriter) expire() (answered string, ok bool) {
	rc := http.NewResponseController(w.rec.ResponseWriter)
	stuck := !w.mu.TryLock()
	if stuck {
		// The handler writes. If its client does not read, only this ends it.
		_ = rc.SetWriteDeadline(time.Now())
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	if w.finished {
		if stuck { // in Hijack: the connection is the handler's
			_ = rc.SetWriteDeadline(time.Time{})
		}
		return "", false
	}
	w.over = true
	if w.rec.sent() {
		w.cut = true
		return "cut", true
	}
	_ = rc.SetWriteDeadline(time.Now().Add(timeoutWrite))
	h := w.rec.Header()
	w.rec.closeAfter()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(timeoutBody)))
	w.rec.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.rec.Write([]byte(timeoutBody))
	w.rec.Flush()
	return "503", true
}

// finish is the handler's end. It waits for a timer function that runs, and
// reports whether the answer was cut.
func (w *timedWriter) finish() (cut bool) {
	if !w.timer.Stop() && !w.isFinished() {
		<-w.expired
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.finished {
		w.finished = true
		if !w.over {
			// An answer without a word, or the trailers of one.
			w.copyHeader()
		}
	}
	return w.cut
}

func (w *timedWriter) isFinished() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.finished
}

func (w *timedWriter) copyHeader() { maps.Copy(w.rec.Header(), w.header) }

func (w *timedWriter) Header() http.Header { return w.header }

func (w *timedWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.writeHeader(status)
	}
}

func (w *timedWriter) writeHeader(status int) {
	if !w.rec.sent() {
		dst := w.rec.Header()
		clear(dst)
		maps.Copy(dst, w.header)
	}
	w.rec.WriteHeader(status)
}

func (w *timedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return 0, http.ErrHandlerTimeout
	}
	if !w.rec.sent() {
		w.writeHeader(http.StatusOK)
	}
	return w.rec.Write(p)
}

func (w *timedWriter) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return http.ErrHandlerTimeout
	}
	if !w.rec.sent() {
		w.writeHeader(http.StatusOK)
	}
	return w.rec.FlushError()
}

func (w *timedWriter) Flush() { _ = w.FlushError() }

// Hijack stops the clock: a connection that was taken over is no request any
// more, it may live as long as it wants.
func (w *timedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return nil, nil, http.ErrHandlerTimeout
	}
	c, rw, err := w.rec.Hijack()
	if err == nil {
		w.finished = true
		w.timer.Stop()
	}
	return c, rw, err
}

// These three reach the server's ResponseWriter directly: they are safe beside a
// write, and a handler that sets deadlines must be able to.

func (w *timedWriter) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(w.rec).SetReadDeadline(t)
}

func (w *timedWriter) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(w.rec).SetWriteDeadline(t)
}

func (w *timedWriter) EnableFullDuplex() error {
	return http.NewResponseController(w.rec).EnableFullDuplex()
}
