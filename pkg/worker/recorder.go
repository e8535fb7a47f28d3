package worker

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// recorder remembers what was answered. It passes on what handlers look for in a
// ResponseWriter: flushing, hijacking, ReadFrom, and the rest through Unwrap.
type recorder struct {
	http.ResponseWriter
	draining *atomic.Bool
	http1    bool
	status   int // 0: nothing was sent
	bytes    int64
	hijacked bool
	aborted  bool // the connection breaks
}

func (w *recorder) sent() bool { return w.status != 0 || w.hijacked }

func (w *recorder) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		if w.status == 0 {
			w.status = status
			if status >= 200 {
				w.announceClose()
			}
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// announceClose says "Connection: close" in the answer to a request that was
// running when the drain began.
func (w *recorder) announceClose() {
	if w.http1 && w.draining.Load() {
		w.Header().Set("Connection", "close")
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

func (w *recorder) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

func (w *recorder) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *recorder) Flush() { _ = w.FlushError() }

func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.hijacked = true
	}
	return c, rw, err
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
