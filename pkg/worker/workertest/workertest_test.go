package workertest

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
)

func TestACertificateIsGoodForThePoolAlone(t *testing.T) {
	cert, key, pool := Certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of the client that goes away
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	defer s.Close()
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	_, _, other := Certificate(t)
	if conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{RootCAs: other}); err == nil {
		conn.Close()
		t.Error("whoever trusts another certificate trusts this one")
	}
}

// transport asks for the body again, before and after it has sent the request.
type transport struct{ before, after error }

func (tr *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	_, tr.before = req.GetBody()
	httptrace.ContextClientTrace(req.Context()).WroteHeaders()
	_, tr.after = req.GetBody()
	return nil, errors.New("no answer")
}

func TestARequestIsSentOnce(t *testing.T) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	once, tr := Once(req), new(transport)
	if _, err := tr.RoundTrip(once); err == nil || tr.before != nil || tr.after == nil {
		t.Errorf("before it was sent: %v, after: %v", tr.before, tr.after)
	}
	if body, err := io.ReadAll(once.Body); err != nil || string(body) != "body" {
		t.Errorf("%q, %v", body, err)
	}
}
