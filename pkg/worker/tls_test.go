package worker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// certificate writes a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = t.TempDir()+"/cert.pem", t.TempDir()+"/key.pem"
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, _ := x509.ParseCertificate(der)
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return cert, key, pool
}

func TestTLSServesBothProtocolsAndDrainsThem(t *testing.T) {
	cert, key, pool := certificate(t)
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
	cert, key, pool := certificate(t)
	spec, l := testSpec(), listen(t)
	spec.HTTP.TLSCert, spec.HTTP.TLSKey = cert, key
	spec.DrainDelay = 0
	w := startWorker(t, spec, Hello, Options{}, l)
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	wire := &counted{Conn: nc}
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
