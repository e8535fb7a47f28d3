package worker

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/gofork/gofork/pkg/worker/workertest"
)

func TestTLSServesBothProtocolsAndDrainsThem(t *testing.T) {
	cert, key, pool := workertest.Certificate(t)
	for proto, set := range map[string]func(*http.Protocols, bool){
		"HTTP/1.1": (*http.Protocols).SetHTTP1, "HTTP/2.0": (*http.Protocols).SetHTTP2,
	} {
		t.Run(proto, func(t *testing.T) {
			spec, l := testSpec(), listen(t)
			spec.HTTP.TLSCert, spec.HTTP.TLSKey = cert, key
			w := startWorker(t, spec, Hello, Options{}, l)
			c := httpClient(t, set)
			c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
			fetch := func() {
				resp, err := c.Get("https://" + l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if _, err := io.ReadAll(resp.Body); err != nil || resp.Proto != proto {
					t.Fatal(resp.Proto, err)
				}
			}
			fetch()
			fetch()
			w.stop()
			w.wantExit(t, 0)
		})
	}
}

func TestIdleTLSConnectionIsClosedWithGoodbye(t *testing.T) {
	cert, key, pool := workertest.Certificate(t)
	spec, l := testDrain(0), listen(t)
	spec.HTTP.TLSCert, spec.HTTP.TLSKey = cert, key
	w := startWorker(t, spec, Hello, Options{}, l)
	wire := &counted{Conn: dial(t, l)}
	c := tls.Client(wire, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	defer c.Close()
	io.WriteString(c, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
	var b [1024]byte
	if _, err := c.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	before := wire.n
	w.stop()
	if _, err := c.Read(b[:]); err != io.EOF || wire.n == before {
		t.Errorf("idle connection: %v after %d bytes, want EOF after a close_notify", err, wire.n-before)
	}
	w.wantExit(t, 0)
}

// counted counts the bytes that were read.
type counted struct {
	net.Conn
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n += n
	return n, err
}
