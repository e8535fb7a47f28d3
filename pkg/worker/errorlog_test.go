package worker

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/worker/workertest"
)

// What net/http says while it serves, and at which level it is logged.
func TestServerErrorsAreLogged(t *testing.T) {
	cert, key, _ := workertest.Certificate(t)
	for name, c := range map[string]struct {
		tls   bool
		send  string
		level string
		want  string
	}{
		"TLS handshake":     {true, "\x16\x03\x01\x00\x01\x00", "DEBUG", "TLS handshake error"},
		"plain HTTP on TLS": {true, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "DEBUG", "client sent an HTTP request to an HTTPS server"},
		"HTTP/2 frame":      {false, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00", "DEBUG", "http2: server connection error"},
		"handler":           {false, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "WARN", "superfluous response.WriteHeader"},
	} {
		t.Run(name, func(t *testing.T) {
			spec, log, l := testSpec(), new(lines), listen(t)
			if c.tls {
				spec.HTTP.TLSCert, spec.HTTP.TLSKey = cert, key
			}
			w := startWorker(t, spec, serveFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusOK)
				w.WriteHeader(http.StatusOK)
			}), Options{Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, l)
			conn := dial(t, l)
			if _, err := io.WriteString(conn, c.send); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, conn) // until the server has given it up
			w.stop()
			w.wantExit(t, 0)
			for line := range strings.Lines(log.String()) {
				var got struct{ Level, Msg, Error string }
				if err := json.Unmarshal([]byte(line), &got); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(got.Error, c.want) {
					if got.Level != c.level || got.Msg != "http server" {
						t.Errorf("want level %s: %s", c.level, line)
					}
					return
				}
			}
			t.Errorf("no record with %q:\n%s", c.want, log)
		})
	}
}
