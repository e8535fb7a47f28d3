package control_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/google/go-cmp/cmp"
)

func TestClientSaysWhoDidNotAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.sock")
	c := control.Dial(path)
	_, err := c.Status(t.Context())
	if !errors.Is(err, control.ErrUnreachable) {
		t.Errorf("error %v is not ErrUnreachable", err)
	}
	if want := "cannot reach gofork at " + path + ": connect: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
}

func TestClientRefusesWhatIsNoGofork(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"))
		_ = conn.Close()
	}()
	c := control.Dial(path)
	defer c.Close()
	if _, err := c.Status(t.Context()); !errors.Is(err, control.ErrUnreachable) {
		t.Errorf("error %v", err)
	}
	_ = ln.Close()
	<-done
}

func TestClientPassesErrorsOn(t *testing.T) {
	s := start(t, &fake{}, control.Options{})
	c := control.Dial(s.socket)
	defer c.Close()
	_, err := c.Act(t.Context(), control.Action{Op: "start", Name: "nobody"})
	var e *control.Error
	if !errors.As(err, &e) || e.Code != control.CodeUnknownCompanion || e.Status != 404 {
		t.Errorf("error %#v", err)
	}
	if _, err := c.Companions(t.Context(), "no/body"); !errors.As(err, &e) || e.Code != control.CodeUnknownCompanion {
		t.Errorf("error %v", err)
	}
	if got, err := c.Companions(t.Context(), "rq"); err != nil || len(got) != 2 {
		t.Errorf("companions %v, %v", got, err)
	}
	if got, err := c.Companions(t.Context(), ""); err != nil || len(got) != 3 {
		t.Errorf("companions %v, %v", got, err)
	}
}

func TestClientPassesItsDeadlineOn(t *testing.T) {
	s := start(t, &fake{upgrade: func(ctx context.Context) (*control.UpgradeResult, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}, control.Options{})
	c := control.Dial(s.socket)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := c.Upgrade(ctx)
	var e *control.Error
	if !errors.As(err, &e) || e.Code != control.CodeTimeout {
		t.Errorf("error %v, want the server's timeout", err)
	}
}

// A busy server says late that the time is over: the client waits for that, too.
func TestClientHearsALateTimeout(t *testing.T) {
	late := make(chan struct{})
	s := start(t, &fake{upgrade: func(ctx context.Context) (*control.UpgradeResult, error) {
		<-ctx.Done()
		<-late
		return nil, ctx.Err()
	}}, control.Options{})
	c := control.Dial(s.socket)
	defer c.Close()
	const limit = 50 * time.Millisecond
	ctx, cancel := control.Within(t.Context(), limit)
	defer cancel()
	over := time.AfterFunc(4*limit, func() { close(late) })
	defer over.Stop()
	_, err := c.Upgrade(ctx)
	var e *control.Error
	if !errors.As(err, &e) || e.Code != control.CodeTimeout {
		t.Errorf("error %v, want the server's timeout", err)
	}
}

func TestClientReturnsTheResultOfAFailedReload(t *testing.T) {
	failed := &control.Reload{
		At: time.Unix(1700000000, 0).UTC(), Error: "cannot reload", Seconds: 0.5,
		Companions: control.CompanionsChange{Added: []string{}, Removed: []string{}, Restarted: []string{}, Unchanged: []string{"rq"}},
	}
	s := start(t, &fake{reload: func(context.Context, control.ReloadRequest) (*control.Reload, error) { return failed, nil }}, control.Options{})
	c := control.Dial(s.socket)
	defer c.Close()
	got, err := c.Reload(t.Context(), control.ReloadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(failed, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestClientKeepsWholeNumbersWhole(t *testing.T) {
	s := start(t, &fake{}, control.Options{})
	c := control.Dial(s.socket)
	defer c.Close()
	got, err := c.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"worker": map[string]any{"count": int64(2), "jitter": 0.5}}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestClientOfAClientAnswersTheSame(t *testing.T) {
	b := &fake{}
	first := start(t, b, control.Options{})
	inner := control.Dial(first.socket)
	defer inner.Close()
	second := start(t, inner, control.Options{})
	for _, request := range [][3]string{
		{"GET", "/v1/companions", ""},
		{"POST", "/v1/companions/rq:2/signal?signal=HUP", ""},
		{"POST", "/v1/companions/nobody/start", ""},
		{"POST", "/v1/scale", `{"delta":1}`},
		{"GET", "/v1/companions/rq/logs?lines=3", ""},
		{"POST", "/v1/stop", `{"quick":true}`},
		{"POST", "/v1/reopen", ""},
	} {
		wantStatus, _, want := first.do(t, request[0], request[1], request[2])
		status, _, got := second.do(t, request[0], request[1], request[2])
		if status != wantStatus || got != want {
			t.Errorf("%v: %d %s, want %d %s", request, status, got, wantStatus, want)
		}
	}
}

func TestProbeReturnsTheText(t *testing.T) {
	s := start(t, &fake{status: func(context.Context) (*control.Status, error) {
		return &control.Status{State: control.StateStarting}, nil
	}}, control.Options{})
	c := control.Dial(s.socket)
	defer c.Close()
	if text, err := c.Probe(t.Context(), "/livez"); text != "ok" || err != nil {
		t.Errorf("livez %q, %v", text, err)
	}
	if _, err := c.Probe(t.Context(), "/readyz"); err == nil || !strings.Contains(err.Error(), "starting") {
		t.Errorf("readyz %v", err)
	}
}
