package worker

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/worker/workertest"
)

func TestHandlerLearnsOfTheDrain(t *testing.T) {
	cert, key, pool := workertest.Certificate(t)
	for name, c := range map[string]struct {
		scheme string
		set    func(*http.Protocols, bool)
	}{
		"HTTP/1":          {"http", (*http.Protocols).SetHTTP1},
		"h2c":             {"http", (*http.Protocols).SetUnencryptedHTTP2},
		"HTTP/1 over TLS": {"https", (*http.Protocols).SetHTTP1},
		"h2":              {"https", (*http.Protocols).SetHTTP2},
	} {
		t.Run(name, func(t *testing.T) {
			spec, l := testDrain(time.Hour), listen(t) // nothing but the handler ends it
			if c.scheme == "https" {
				spec.HTTP.TLSCert, spec.HTTP.TLSKey = cert, key
			}
			entered := make(chan struct{})
			w := startWorker(t, spec, serveFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithTimeout(r.Context(), time.Hour)
				defer cancel()
				select {
				case <-Draining(ctx):
					t.Error("told before the drain")
				default:
				}
				close(entered)
				<-Draining(ctx)
				io.WriteString(w, "bye")
			}), Options{}, l)
			client := httpClient(t, c.set)
			client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
			go func() { <-entered; w.stop() }()
			resp, err := client.Get(c.scheme + "://" + l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); string(body) != "bye" || err != nil {
				t.Fatalf("%q %v", body, err)
			}
			w.wantExit(t, 0)
		})
	}
}

func TestNothingDrainsOutsideOfAWorker(t *testing.T) {
	if Draining(t.Context()) != nil {
		t.Fatal("a channel without a worker")
	}
}
