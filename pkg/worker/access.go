package worker

import (
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	requestIDHeader = "X-Request-Id"
	maxRequestID    = 128

	// statusAborted stands in access records for an answer that never began,
	// as in nginx.
	statusAborted = 499
)

// accessLog writes one record a request: to a logger, or in Apache's combined
// format to a writer.
type accessLog struct {
	log *slog.Logger // "record"
	out io.Writer    // "combined"

	mu   sync.Mutex // guards line and keeps lines whole
	line []byte
}

func (a *accessLog) record(r *http.Request, rec *recorder, id string, start time.Time) {
	status := rec.status
	switch {
	case status != 0:
	case rec.hijacked:
		status = http.StatusSwitchingProtocols
	case rec.aborted:
		status = statusAborted
	default:
		status = http.StatusOK // net/http answers for a handler that does not
	}
	if a.log != nil {
		a.log.LogAttrs(r.Context(), slog.LevelInfo, "request",
			slog.String("event", "request"),
			slog.String("method", r.Method),
			slog.String("path", r.URL.Path),
			slog.String("proto", r.Proto),
			slog.String("scheme", Scheme(r)),
			slog.String("host", r.Host),
			slog.Int("status", status),
			slog.Int64("bytes", rec.bytes),
			slog.Float64("seconds", time.Since(start).Seconds()),
			slog.String("remote", r.RemoteAddr),
			slog.String("user_agent", r.UserAgent()),
			slog.String("request_id", id))
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line = appendCombined(a.line[:0], r, status, rec.bytes, start)
	_, _ = a.out.Write(a.line)
}

// appendCombined appends a line of the Apache HTTP server's "combined" format:
// host - user [time] "request" status bytes "referer" "user agent".
func appendCombined(b []byte, r *http.Request, status int, bytes int64, start time.Time) []byte {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || host == "" {
		host = "-" // a unix socket
	}
	user, _, _ := r.BasicAuth()
	if user == "" {
		user = "-"
	}
	b = append(b, host...)
	b = append(b, " - "...)
	b = appendEscaped(b, user, true)
	b = start.AppendFormat(append(b, " ["...), "02/Jan/2006:15:04:05 -0700")
	b = append(b, `] "`...)
	b = appendEscaped(b, r.Method, false)
	b = append(b, ' ')
	b = appendEscaped(b, r.RequestURI, false)
	b = append(b, ' ')
	b = append(b, r.Proto...)
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if bytes == 0 {
		b = append(b, '-')
	} else {
		b = strconv.AppendInt(b, bytes, 10)
	}
	b = appendQuoted(append(b, ' '), r.Referer())
	b = appendQuoted(append(b, ' '), r.UserAgent())
	return append(b, '\n')
}

func appendQuoted(b []byte, s string) []byte {
	if s == "" {
		s = "-"
	}
	return append(appendEscaped(append(b, '"'), s, false), '"')
}

// appendEscaped keeps a client from forging lines and fields, with the escapes
// that Apache writes.
func appendEscaped(b []byte, s string, spaces bool) []byte {
	const hex = "0123456789abcdef"
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f || c >= 0x80 || spaces && c == ' ':
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}

// requestID returns the id that a trusted proxy gave the request, else a new
// one, which it also puts into the request's header for the handler.
func requestID(r *http.Request) string {
	if id := r.Header.Get(requestIDHeader); validRequestID(id) {
		return id
	}
	// Unique, not secret.
	id := hex64(make([]byte, 0, 32), rand.Uint64())
	id = hex64(id, rand.Uint64())
	r.Header.Set(requestIDHeader, string(id))
	return string(id)
}

func hex64(b []byte, v uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[v>>shift&15])
	}
	return b
}

func validRequestID(id string) bool {
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return id != "" && len(id) <= maxRequestID
}
