package control_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a Backend that a test scripts: a method without a function answers as
// control.Unsupported does. It notes what it was asked.
type fake struct {
	control.Unsupported
	status  func(context.Context) (*control.Status, error)
	act     func(context.Context, control.Action) ([]control.Companion, error)
	reload  func(context.Context, control.ReloadRequest) (*control.Reload, error)
	upgrade func(context.Context) (*control.UpgradeResult, error)
	config  func(context.Context) (any, error)
	events  func(context.Context) (*control.Status, <-chan control.Event, error)
	logs    func(context.Context, string, int, bool) (io.ReadCloser, error)

	mu    sync.Mutex
	asked []any
}

func (f *fake) note(v any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, v)
}

func (f *fake) noted() []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *fake) Status(ctx context.Context) (*control.Status, error) {
	if f.status == nil {
		return picture(), nil
	}
	return f.status(ctx)
}

func (f *fake) Act(ctx context.Context, a control.Action) ([]control.Companion, error) {
	f.note(a)
	if f.act != nil {
		return f.act(ctx, a)
	}
	found := control.Select(picture().Companions, a.Name, a.Instance)
	if found == nil {
		return nil, control.UnknownCompanion(a.Target())
	}
	return found, nil
}

func (f *fake) Reload(ctx context.Context, r control.ReloadRequest) (*control.Reload, error) {
	f.note(r)
	if f.reload != nil {
		return f.reload(ctx, r)
	}
	return &control.Reload{OK: true}, nil
}

func (f *fake) Scale(_ context.Context, s control.ScaleRequest) (*control.Workers, error) {
	f.note(s)
	return &control.Workers{Configured: 4, Ready: 2}, nil
}

func (f *fake) Stop(_ context.Context, s control.StopRequest) error { f.note(s); return nil }
func (f *fake) Reopen(context.Context) error                        { f.note("reopen"); return nil }

func (f *fake) Upgrade(ctx context.Context) (*control.UpgradeResult, error) {
	if f.upgrade == nil {
		return &control.UpgradeResult{PID: 42}, nil
	}
	return f.upgrade(ctx)
}

func (f *fake) Config(ctx context.Context) (any, error) {
	if f.config == nil {
		return map[string]any{"worker": map[string]any{"count": 2, "jitter": 0.5}}, nil
	}
	return f.config(ctx)
}

func (f *fake) Events(ctx context.Context) (*control.Status, <-chan control.Event, error) {
	if f.events == nil {
		return f.Unsupported.Events(ctx)
	}
	return f.events(ctx)
}

func (f *fake) Logs(ctx context.Context, target string, lines int, follow bool) (io.ReadCloser, error) {
	f.note([]any{target, lines, follow})
	if f.logs == nil {
		return io.NopCloser(strings.NewReader("one\ntwo\n")), nil
	}
	return f.logs(ctx, target, lines, follow)
}

// picture is a gofork with two workers and three instances.
func picture() *control.Status {
	return &control.Status{
		Name: "app", State: control.StateRunning, PID: 1, Generation: 1,
		Listeners: []string{"tcp://127.0.0.1:8000"},
		Workers:   control.Workers{Configured: 2, Ready: 2},
		Companions: []control.Companion{
			{Name: "rq", Instance: 1, State: control.Running, Desired: control.Up, PID: 14},
			{Name: "rq", Instance: 2, State: control.Running, Desired: control.Up, PID: 15},
			{Name: "scheduler", Instance: 1, State: control.Stopped, Desired: control.Down},
		},
	}
}

// server is one that runs for the length of a test.
type server struct {
	socket string
	stop   func() error // ends it and waits
	http   *http.Client
}

// start serves b on a real socket until the test ends.
func start(t *testing.T, b control.Backend, o control.Options) *server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.sock")
	sock, err := control.Listen(path, control.ListenOptions{Mode: 0o666, DirMode: 0o711})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sock.Close() })
	ln, err := sock.Listener()
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, path, func(ctx context.Context) error { return control.Serve(ctx, ln, b, o) })
}

func serveOn(t *testing.T, path string, run func(context.Context) error) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(10 * time.Second):
			return errors.New("the server does not end")
		}
	})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &server{socket: path, stop: stop, http: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
}

// do sends one request and returns the status, the header and the body.
func (s *server) do(t *testing.T, method, target, body string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://x"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return resp.StatusCode, resp.Header, string(b)
}
