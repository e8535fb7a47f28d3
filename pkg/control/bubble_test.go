package control_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// pipes is a listener without the kernel, for tests in a bubble of virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// serveInBubble serves b until stop; requests go through the client, whose actions
// are let in. Time stands still while anybody works.
func serveInBubble(b control.Backend) (client *http.Client, stop func() error) {
	p := newPipes()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- control.ServeAdmin(ctx, p, b, control.AdminOptions{Token: func() (string, error) { return "secret", nil }})
	}()
	return &http.Client{Transport: bearer{&http.Transport{DialContext: p.dial}}}, func() error { cancel(); return <-ended }
}

// bearer shows the token.
type bearer struct{ *http.Transport }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer secret")
	return b.Transport.RoundTrip(r)
}

// A request that is being carried out may take any time, its reading may not.
func TestWaitIsNotCutByTheTimeForReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, stop := serveInBubble(&fake{act: func(ctx context.Context, _ control.Action) ([]control.Companion, error) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Hour):
				return nil, nil
			}
		}})
		resp, err := client.Post("http://x/v1/companions/rq/start", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || err != nil {
			t.Errorf("answer %d %s, %v", resp.StatusCode, body, err)
		}
		client.CloseIdleConnections()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestReaderThatDoesNotReadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dropped := make(chan time.Time, 1)
		client, stop := serveInBubble(&fake{events: func(ctx context.Context) (*control.Status, <-chan control.Event, error) {
			events := make(chan control.Event)
			go func() {
				for seq := uint64(1); ; seq++ {
					select {
					case events <- sample(seq):
					case <-ctx.Done():
						dropped <- time.Now()
						return
					}
				}
			}()
			return picture(), events, nil
		}})
		resp, err := client.Get("http://x/v1/events")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if held := (<-dropped).Sub(began); held != 10*time.Second {
			t.Errorf("its stream was held for %v, want 10s", held)
		}
		_ = resp.Body.Close()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A companion may say nothing for longer than a peer has to take one piece. The end
// of its stream is a piece of its own.
func TestStreamThatWasSilentEndsWhole(t *testing.T) {
	backend := &fake{
		logs: func(ctx context.Context, _ string, _ int, _ bool) (io.ReadCloser, error) {
			r, w := io.Pipe()
			go func() {
				_, _ = io.WriteString(w, "first\n")
				<-ctx.Done()
				_ = w.Close()
			}()
			return r, nil
		},
		events: func(ctx context.Context) (*control.Status, <-chan control.Event, error) {
			events := make(chan control.Event)
			context.AfterFunc(ctx, func() { close(events) })
			return &control.Status{Name: "app"}, events, nil
		},
	}
	for path, want := range map[string]string{
		"/v1/companions/rq/logs?follow=true": "first\n",
		"/v1/events":                         "event: snapshot\ndata: {\"name\":\"app\"",
	} {
		synctest.Test(t, func(t *testing.T) {
			client, stop := serveInBubble(backend)
			resp, err := client.Get("http://x" + path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			ended := make(chan error, 1)
			time.AfterFunc(time.Hour, func() { ended <- stop() })
			text, err := io.ReadAll(resp.Body)
			if err != nil || !strings.HasPrefix(string(text), want) {
				t.Errorf("%s: read %.60q, %v", path, text, err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// A reader that is a little behind when gofork ends gets what had happened by then.
func TestEventsBeforeTheEndAreStillSent(t *testing.T) {
	const n = 50
	synctest.Test(t, func(t *testing.T) {
		events := make(chan control.Event, n)
		client, stop := serveInBubble(&fake{events: func(context.Context) (*control.Status, <-chan control.Event, error) {
			return picture(), events, nil
		}})
		resp, err := client.Get("http://x/v1/events")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		for seq := range uint64(n) {
			events <- sample(seq) // the pipe takes nothing more until somebody reads
		}
		ended := make(chan error, 1)
		go func() { ended <- stop() }()
		synctest.Wait()
		text, err := io.ReadAll(resp.Body)
		if got := strings.Count(string(text), "event: companion.running"); err != nil || got != n {
			t.Errorf("%d events of %d arrived, %v", got, n, err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Dashboards that follow must not keep out who wants to stop what they show.
func TestStreamsLeaveRoomForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, stop := serveInBubble(&fake{
			events: func(ctx context.Context) (*control.Status, <-chan control.Event, error) {
				events := make(chan control.Event)
				context.AfterFunc(ctx, func() { close(events) })
				return picture(), events, nil
			},
			logs: func(ctx context.Context, _ string, _ int, _ bool) (io.ReadCloser, error) {
				r, w := io.Pipe()
				context.AfterFunc(ctx, func() { _ = w.Close() })
				return r, nil
			},
		})
		var open []io.Closer
		refused := 0
		for n := range 64 {
			path := "/v1/events"
			if n%2 == 0 {
				path = "/v1/companions/rq/logs?follow=true"
			}
			resp, err := client.Get("http://x" + path)
			if err != nil {
				t.Fatal(err)
			}
			switch resp.StatusCode {
			case http.StatusOK:
				open = append(open, resp.Body)
			case http.StatusServiceUnavailable:
				refused++
				_ = resp.Body.Close()
			default:
				t.Errorf("status %d", resp.StatusCode)
			}
		}
		if len(open) != 48 || refused != 16 {
			t.Errorf("%d streams are open, %d were refused", len(open), refused)
		}
		resp, err := client.Get("http://x/v1/status")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		_ = open[0].Close()
		synctest.Wait()
		resp, err = client.Get("http://x/v1/events")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%v, %v after one has gone", resp, err)
		}
		open = append(open, resp.Body)
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, body := range open {
			_ = body.Close()
		}
		client.CloseIdleConnections()
	})
}
