//go:build linux

package test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/worker/workertest"
	httpload "github.com/gofork/gofork/test/bench/load"
)

// What a rolling reload is proved with: so many reloads, one worker more at a
// time, under so many clients, with at least so many requests.
const (
	rolls       = 20
	rollClients = 24
	rollPosts   = 20_000

	// rollPause is how long a client waits between an answer and its next request,
	// on the average: short beside rollDrain, and such that the test machine is
	// busy, but has time to start workers.
	rollPause = 10 * time.Millisecond

	// rollDrain is worker.drain_delay, so long that a client hears of the drain on a
	// busy machine, too. Nobody waits for it: HTTP/1.1 clients close their connections
	// when an answer says so, and HTTP/2 clients say that they have heard.
	rollDrain = "5s"
)

// poster is a client that sends every request once.
type poster interface {
	post(ctx context.Context, body string) error
	hangUp()
}

func TestRollingReloadsLoseNoRequest(t *testing.T) {
	cert, key, pool := workertest.Certificate(t)
	wire := func(header string) func(string, int) poster {
		return func(addr string, _ int) poster {
			return &wirePoster{conn: httpload.New(addr, requestPatience), header: header}
		}
	}
	for _, tt := range []struct {
		name, more string
		clients    func(addr string, n int) poster
	}{
		{"HTTP/1.1 keep-alive", "", wire("")},
		{"HTTP/1.1 new connections", "", wire("Connection: close\r\n")},
		{"HTTP/2 prior knowledge", "", streams("http", (*http.Protocols).SetUnencryptedHTTP2, nil)},
		{
			"HTTP/2 TLS", fmt.Sprintf("[worker.http]\ntls_cert = %q\ntls_key = %q\n", cert, key),
			streams("https", (*http.Protocols).SetHTTP2, &tls.Config{RootCAs: pool}),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			slots := 4
			if raceEnabled { // a worker takes its time to start
				slots = 2
			}
			s := start(t, fmt.Sprintf("[log]\nlevel = \"info\"\n[worker]\nhandler = \"hello\"\ncount = %d\nmax_surge = 1\ndrain_delay = %q\n", slots, rollDrain)+tt.more)
			s.ready()
			u := &under{server: s, arbiter: mustLookup(t, s.pid())}
			c := &crowd{phase: u.phase}
			u.enter("nothing in particular")

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var clients sync.WaitGroup
			for n := range rollClients {
				p := tt.clients(s.addr, n)
				clients.Go(func() { c.client(ctx, p) })
			}
			began, reloads := time.Now(), 0
			for reloads < rolls || c.sent.Load() < rollPosts {
				reloads++
				u.enter("reload %d", reloads)
				if ok, why := u.reload(); !ok {
					t.Errorf("reload %d has failed: %s", reloads, why)
				}
				if time.Since(began) > 4*patience {
					t.Fatalf("%d reloads and %d requests in %s", reloads, c.sent.Load(), time.Since(began))
				}
			}
			cancel()
			clients.Wait()
			c.report(t, reloads, time.Since(began))
			s.awaitStatus("every reload has made a generation", func(st control.Status) bool {
				return st.Generation == reloads+1 && st.Workers.Ready == slots && len(st.Workers.List) == slots
			})
		})
	}
}

// crowd is clients together.
type crowd struct {
	phase func() string
	sent  atomic.Int64

	mu       sync.Mutex
	failures []string
	worst    time.Duration
}

// client posts until ctx ends. A request that was begun is not given up then.
func (c *crowd) client(ctx context.Context, p poster) {
	defer p.hangUp()
	body := strings.Repeat("a body that comes back ", 10+rand.IntN(20))
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		began, phase := time.Now(), c.phase()
		err := p.post(context.WithoutCancel(ctx), body)
		c.sent.Add(1)
		c.note(began, phase, err)
		pause.Reset(rollPause/2 + rand.N(rollPause))
	}
}

func (c *crowd) note(began time.Time, phase string, err error) {
	took := time.Since(began)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.worst = max(c.worst, took)
	if err != nil {
		c.failures = append(c.failures, fmt.Sprintf("%s, begun in %s, failed after %s in %s: %v",
			began.UTC().Format("15:04:05.000000"), phase, took.Round(time.Microsecond), c.phase(), err))
	}
}

func (c *crowd) report(t *testing.T, reloads int, lasted time.Duration) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Logf("%d reloads in %s, %d requests, %d failed, the longest took %s",
		reloads, lasted.Round(time.Millisecond), c.sent.Load(), len(c.failures), c.worst.Round(time.Millisecond))
	for i, f := range c.failures {
		if i == 10 {
			t.Errorf("and %d more", len(c.failures)-i)
			return
		}
		t.Error(f)
	}
}

// wirePoster speaks HTTP/1.1 on a connection of its own, for as long as the
// server or the header lets it.
type wirePoster struct {
	conn   *httpload.Conn
	header string
}

func (p *wirePoster) hangUp() { p.conn.Close() }

func (p *wirePoster) post(ctx context.Context, body string) error {
	a, err := p.conn.Do(ctx, fmt.Appendf(nil, "POST /echo HTTP/1.1\r\nHost: load\r\n%sContent-Length: %d\r\n\r\n%s", p.header, len(body), body))
	return echoed(a.Code, string(a.Body), body, err, "reused: %t", a.Reused)
}

// streamPoster has streams of HTTP/2 connections that others use at the same time.
type streamPoster struct {
	transport *http.Transport
	url       string
}

// streams returns clients of whom four at a time share a transport.
func streams(scheme string, protocol func(*http.Protocols, bool), config *tls.Config) func(string, int) poster {
	var transport *http.Transport
	return func(addr string, n int) poster {
		if n%4 == 0 {
			transport = &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: config.Clone()}
			protocol(transport.Protocols, true)
		}
		return &streamPoster{transport, scheme + "://" + addr + "/echo"}
	}
}

func (p *streamPoster) hangUp() { p.transport.CloseIdleConnections() }

// post fails when the transport would have to send the request a second time, as
// HTTP/2 lets it for those that a GOAWAY disclaims.
func (p *streamPoster) post(ctx context.Context, body string) error {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(body))
	if err != nil {
		return err
	}
	res, err := p.transport.RoundTrip(workertest.Once(req))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return echoed(res.StatusCode, string(got), body, err, "%s", res.Proto)
}

// echoed is what is wrong with an answer.
func echoed(code int, got, want string, err error, how string, args ...any) error {
	how = fmt.Sprintf(how, args...)
	switch {
	case err != nil:
		return fmt.Errorf("%w (%s)", err, how)
	case code != http.StatusOK || got != want:
		return fmt.Errorf("status %d, %d bytes came back as %d (%s)", code, len(want), len(got), how)
	}
	return nil
}
