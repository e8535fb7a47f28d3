package control_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

func TestHundredClientsAtATimeAreAllAnswered(t *testing.T) {
	s := start(t, &fake{}, control.Options{})
	var clients sync.WaitGroup
	for i := range 100 {
		clients.Go(func() {
			c := control.Dial(s.socket)
			defer c.Close()
			for range 10 {
				if _, err := c.Status(t.Context()); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
				if _, err := c.Act(t.Context(), control.Action{Op: "start", Name: "rq"}); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
	clients.Wait()
}

func TestConnectionsOverTheLimitWaitTheirTurn(t *testing.T) {
	entered, leave := make(chan struct{}, 8), make(chan struct{})
	b := &fake{act: func(context.Context, control.Action) ([]control.Companion, error) {
		entered <- struct{}{}
		<-leave
		return nil, nil
	}}
	s := start(t, b, control.Options{MaxConns: 2})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			c := control.Dial(s.socket)
			defer c.Close()
			if _, err := c.Act(t.Context(), control.Action{Op: "start", Name: "rq", Wait: true}); err != nil {
				t.Error(err)
			}
		})
	}
	<-entered
	<-entered
	select {
	case <-entered:
		t.Error("a third request came in beside two")
	case <-time.After(50 * time.Millisecond): // a wrong server needs less
	}
	close(leave)
	clients.Wait()
}

func TestIdlePeersMakeRoom(t *testing.T) {
	s := start(t, &fake{}, control.Options{MaxConns: 1})
	// Both keep their connection if the server lets them.
	for range 2 {
		c := control.Dial(s.socket)
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond) // less than an idle connection of either side lives
		defer cancel()
		if _, err := c.Status(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnswerBeingMadeFinishesWhenTheServerEnds(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, &fake{act: func(ctx context.Context, _ control.Action) ([]control.Companion, error) {
		close(entered)
		<-leave
		return nil, ctx.Err()
	}}, control.Options{})
	answered := make(chan error, 1)
	go func() {
		c := control.Dial(s.socket)
		defer c.Close()
		_, err := c.Act(context.Background(), control.Action{Op: "stop", Name: "rq", Wait: true})
		answered <- err
	}()
	<-entered
	ended := make(chan error, 1)
	go func() { ended <- s.stop() }()
	waitUntilRefused(t, s.socket)
	close(leave)
	if err := <-answered; err != nil {
		t.Errorf("the answer was cut: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// waitUntilRefused waits until nobody accepts at the socket. Its owner still holds
// it open, so that connections are queued, not refused: no answer is what tells.
func waitUntilRefused(t *testing.T, socket string) {
	t.Helper()
	c := control.Dial(socket)
	defer c.Close()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := c.Status(ctx)
		cancel()
		if err != nil {
			return
		}
	}
}

func TestWaitThatOutlastsTheServerIsToldSo(t *testing.T) {
	entered := make(chan struct{})
	s := start(t, &fake{act: func(ctx context.Context, _ control.Action) ([]control.Companion, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}}, control.Options{})
	answered := make(chan error, 1)
	go func() {
		c := control.Dial(s.socket)
		defer c.Close()
		_, err := c.Act(context.Background(), control.Action{Op: "stop", Name: "rq", Wait: true})
		answered <- err
	}()
	<-entered
	begun := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("the server took %s to end", took)
	}
	var e *control.Error
	if err := <-answered; !errors.As(err, &e) || e.Code != control.CodeUnavailable {
		t.Errorf("answer %v, want unavailable", err)
	}
}

func TestRequestEndsWhenItsPeerGoes(t *testing.T) {
	entered, gone := make(chan struct{}), make(chan struct{})
	s := start(t, &fake{act: func(ctx context.Context, _ control.Action) ([]control.Companion, error) {
		close(entered)
		<-ctx.Done()
		close(gone)
		return nil, ctx.Err()
	}}, control.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	c := control.Dial(s.socket)
	defer c.Close()
	if _, err := c.Act(ctx, control.Action{Op: "start", Name: "rq", Wait: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	<-gone
}

func TestGarbageIsRefusedAndChangesNothing(t *testing.T) {
	b := &fake{}
	s := start(t, b, control.Options{})
	for _, request := range []string{
		"hello\r\n\r\n",
		"GET /v1/status HTTP/1.1\r\n\r\n", // no host
		"GET /v1/status HTTP/9.9\r\nHost: x\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: -4\r\n\r\n",
		"POST /v1/stop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"\x00\x01\x02\r\n\r\n",
	} {
		conn, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, request) // the server may answer and close before it has read all
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode < 400 {
				t.Errorf("%.40q: %s", request, resp.Status)
			}
		}
		_ = conn.Close()
	}
	if asked := b.noted(); len(asked) != 0 {
		t.Errorf("the backend was asked %v", asked)
	}
}

func TestServeEndsWithAnErrorWhenItCannotAccept(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := control.Serve(t.Context(), ln, &fake{}, control.Options{}); err == nil || !strings.HasPrefix(err.Error(), "cannot accept") {
		t.Errorf("error %v", err)
	}
}

func TestAdminAddressReadsForAllAndActsForTheToken(t *testing.T) {
	token, tokenErr := "secret", error(nil)
	for _, tt := range []struct {
		name, method, target, header string
		read                         func() (string, error)
		status                       int
	}{
		{"read", "GET", "/v1/status", "", nil, 200},
		{"act without a token file", "POST", "/v1/reopen", "Bearer secret", nil, 403},
		{"act without a token", "POST", "/v1/reopen", "", func() (string, error) { return token, tokenErr }, 401},
		{"act with a wrong token", "POST", "/v1/reopen", "Bearer secre", func() (string, error) { return token, tokenErr }, 401},
		{"act with another scheme", "POST", "/v1/reopen", "Basic secret", func() (string, error) { return token, tokenErr }, 401},
		{"act with the token", "POST", "/v1/reopen", "Bearer secret", func() (string, error) { return token, tokenErr }, 200},
		{"act with an empty token", "POST", "/v1/reopen", "Bearer ", func() (string, error) { return "", nil }, 403},
		{"act with an unreadable token", "POST", "/v1/reopen", "Bearer secret", func() (string, error) { return "", fmt.Errorf("cannot read") }, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			serveOn(t, "", func(ctx context.Context) error {
				return control.ServeAdmin(ctx, ln, &fake{}, control.AdminOptions{Token: tt.read})
			})
			req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://"+ln.Addr().String()+tt.target, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", tt.header)
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
			}
			if challenge := resp.Header.Get("WWW-Authenticate"); (challenge != "") != (tt.status == 401) {
				t.Errorf("WWW-Authenticate %q at %d", challenge, resp.StatusCode)
			}
		})
	}
}

// Most clients read no answer before they have written all.
func TestBodyThatIsTooLargeIsAnsweredAllTheSame(t *testing.T) {
	s := start(t, &fake{}, control.Options{})
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const size = 8 << 20
	if _, err := fmt.Fprintf(conn, "POST /v1/scale HTTP/1.1\r\nHost: gofork\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", resp.StatusCode)
	}
}
