package worker

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
)

// sniffed is how much net/http looks at to tell a Content-Type.
const sniffed = 512

var errEnded = errors.New("the request has ended")

// recorder stands between a handler and the server for what net/http does not
// offer: what was answered, and a last word in the header of the answer. The
// drain needs that word. http.Server.SetKeepAlivesEnabled would say it as well,
// but it also closes the connections that wait and those whose answer, begun
// before the drain, has promised that they stay open.
//
// It passes on what handlers look for in a ResponseWriter: flushing, hijacking,
// WriteString, ReadFrom, and the rest through Unwrap.
type recorder struct {
	http.ResponseWriter
	table    *connTable
	status   int // 0: nothing was sent
	bytes    int64
	http1    bool
	hijacked bool
	aborted  bool // the connection breaks
}

// record returns the recorder of a request. HTTP/1 has one request at a time on
// a connection, so its recorder is a part of the connection.
func (t *connTable) record(w http.ResponseWriter, r *http.Request) *recorder {
	http1 := r.ProtoMajor == 1
	if http1 {
		if c := connOf(r.Context()); c != nil {
			c.recorder = recorder{ResponseWriter: w, table: t, http1: true}
			return &c.recorder
		}
	}
	return &recorder{ResponseWriter: w, table: t, http1: http1}
}

// end lets go of the server's ResponseWriter. A connection that waits holds
// nothing of its last request, and a goroutine that writes after its handler has
// returned gets an error until the next request comes. Writing later is an error
// of the handler's, whose effect net/http leaves open, too.
func (w *recorder) end() { w.ResponseWriter = ended{} }

func (w *recorder) sent() bool { return w.status != 0 || w.hijacked }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
		if status >= 200 {
			w.announceClose()
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// announceClose says "Connection: close" while draining, no matter when the
// request came.
func (w *recorder) announceClose() {
	if w.table.isDraining() {
		w.closeAfter()
	}
}

// closeAfter has the connection end with this answer. HTTP/2 has other requests on
// it, and net/http would make a GOAWAY of the header that drops those on their way.
func (w *recorder) closeAfter() {
	if w.http1 {
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

func (w *recorder) WriteString(s string) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := io.WriteString(w.ResponseWriter, s)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom keeps sendfile(2).
func (w *recorder) ReadFrom(r io.Reader) (n int64, err error) {
	if w.status == 0 {
		// The answer begins with what r gives: if that is an error, the handler
		// can still answer something else.
		n, err = io.CopyN(struct{ io.Writer }{w}, r, sniffed)
		if err == io.EOF { //nolint:errorlint // what CopyN says of a short r; an r that wraps it has failed
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	rest, err := io.Copy(w.ResponseWriter, r)
	w.bytes += rest
	return n + rest, err
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

// ended is the ResponseWriter of no request.
type ended struct{}

func (ended) Header() http.Header       { return make(http.Header) }
func (ended) Write([]byte) (int, error) { return 0, errEnded }
func (ended) WriteHeader(int)           {}
