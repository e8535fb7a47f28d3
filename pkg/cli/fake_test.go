package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/worker"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func at(s string) *time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return &t
}

func ptr[T any](v T) *T { return &v }

// fake is a running gofork with what a test needs to see: two workers, one of them
// waiting in backoff, and four companions in different states.
type fake struct {
	control.Unsupported
	status control.Status
	admin  string // admin.bind
	events chan control.Event

	mu    sync.Mutex
	asked []any
}

func newFake() *fake {
	boot := at("2026-01-02T03:04:05Z")
	killed := &control.Exit{At: *boot, Signal: ptr("SIGKILL"), Reason: "exited"}
	return &fake{events: make(chan control.Event, 8), status: control.Status{
		Name: "app", Version: "v1", PID: 1, State: control.StateRunning, StartedAt: *boot, UptimeSeconds: 3725,
		Generation: 2, Listeners: []string{"tcp://127.0.0.1:8000", "unix:///run/app.sock"}, StopBudgetSeconds: 71,
		LastReload: &control.Reload{At: *boot, Error: "cannot reload: worker slot 2 exited before ready"},
		Workers: control.Workers{Configured: 2, Ready: 1, List: []control.Worker{
			{Slot: 1, Attempt: 1, PID: 11, Generation: 2, State: control.WorkerReady, UptimeSeconds: 61, RSSBytes: 12 << 20, Status: "42 requests"},
			{Slot: 2, Attempt: 4, Generation: 2, State: control.WorkerBackoff, Restarts: 3, LastExit: killed},
		}},
		Manager: &control.Manager{PID: 13, State: control.ManagerRunning, StopTimeoutSeconds: 70},
		Companions: []control.Companion{
			{Name: "rq-default", Instance: 1, State: control.Backoff, Desired: control.Up, Description: "exited with code 1, retrying in 3s (failure 3)"},
			{Name: "rq-long", Instance: 1, State: control.Stopped, Desired: control.Down, Description: "stopped manually"},
			{Name: "scheduler", Instance: 1, State: control.Running, Desired: control.Up, PID: 14, Description: "pid 14, uptime 0:00:01"},
			{Name: "scheduler", Instance: 2, State: control.Running, Desired: control.Up, PID: 15, Description: "pid 15, uptime 0:00:01"},
		},
	}}
}

// well makes everything as it should be.
func (f *fake) well() *fake {
	f.status.LastReload = nil
	f.status.Workers.Ready = 2
	f.status.Workers.List = f.status.Workers.List[:1]
	f.status.Companions = f.status.Companions[1:]
	return f
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

func (f *fake) Status(context.Context) (*control.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	return &s, nil
}

func (f *fake) Act(ctx context.Context, a control.Action) ([]control.Companion, error) {
	f.note(a)
	switch {
	case a.Op == control.OpStart && a.Name == "rq-default" && a.Wait:
		return nil, control.Conflictf("cannot start rq-default: exited with code 1")
	case a.Op == control.OpStop && a.Name == "rq-default" && a.Wait:
		<-ctx.Done()
		return nil, ctx.Err()
	case a.Op == control.OpSignal && a.Signal == "NOPE":
		return nil, control.Errorf(400, control.CodeBadRequest, "cannot use signal %q: no such signal", a.Signal)
	}
	s, _ := f.Status(ctx)
	return control.Select(s.Companions, a.Name, a.Instance), nil
}

func (f *fake) Reload(_ context.Context, r control.ReloadRequest) (*control.Reload, error) {
	f.note(r)
	switch {
	case r.DryRun:
		return &control.Reload{OK: true, Plan: &control.Plan{
			Workers:   "new generation",
			Listeners: []control.PlanListener{{Address: "tcp://127.0.0.1:8000", Action: "keep"}},
			Companions: []control.PlanCompanion{
				{Name: "rq-default", Action: "restart", Keys: []string{"command", "env"}},
				{Name: "scheduler", Action: "none"},
			},
		}, NeedsRestart: []string{"server.backlog", "server.pidfile"}}, nil
	case r.CompanionsOnly:
		return &control.Reload{Error: "cannot load app.toml:3: companion.x.comand: unknown key"}, nil
	}
	return &control.Reload{OK: true, Seconds: 0.42, Companions: control.CompanionsChange{
		Restarted: []string{"rq-default"}, Unchanged: []string{"rq-long", "scheduler"},
	}, NeedsRestart: []string{"server.pidfile"}}, nil
}

func (f *fake) Scale(_ context.Context, s control.ScaleRequest) (*control.Workers, error) {
	f.note(s)
	return &control.Workers{Configured: 3, Ready: 2}, nil
}

func (f *fake) Stop(_ context.Context, s control.StopRequest) error { f.note(s); return nil }
func (f *fake) Reopen(context.Context) error                        { f.note("reopen"); return nil }

func (f *fake) Upgrade(context.Context) (*control.UpgradeResult, error) {
	return &control.UpgradeResult{PID: 99, Socket: "/run/gofork/app.sock.2"}, nil
}

func (f *fake) Config(context.Context) (any, error) {
	if f.admin != "" {
		return map[string]any{"admin": map[string]any{"bind": f.admin}}, nil
	}
	return map[string]any{
		"name": "app", "worker": map[string]any{"count": 2, "command": []string{"node", "server.js"}},
		"companion": map[string]any{"rq": map[string]any{"backoff_jitter": 0.5, "env": map[string]any{"TOKEN": "***"}}},
	}, nil
}

func (f *fake) Events(ctx context.Context) (*control.Status, <-chan control.Event, error) {
	s, err := f.Status(ctx)
	return s, f.events, err
}

func (f *fake) Logs(_ context.Context, target string, lines int, follow bool) (io.ReadCloser, error) {
	f.note([]any{target, lines, follow})
	if target == "nobody" {
		return nil, control.UnknownCompanion(target)
	}
	if target == "broken" {
		return io.NopCloser(io.MultiReader(strings.NewReader("half\n"), iotest.ErrReader(errors.New("dropped")))), nil
	}
	return io.NopCloser(strings.NewReader("one\ntwo\n")), nil
}

// serveFake answers for f at a socket until the test ends.
func serveFake(t *testing.T, f *fake, path string) {
	t.Helper()
	sock, err := control.Listen(path, control.ListenOptions{Mode: 0o600, DirMode: 0o700})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := sock.Listener()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- control.Serve(ctx, ln, f, control.Options{}) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, sock.Close()); err != nil {
			t.Error(err)
		}
	})
}

// startFake answers at a new socket and returns its path.
func startFake(t *testing.T, f *fake) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.sock")
	serveFake(t, f, path)
	return path
}

// gofork runs one command line.
func gofork(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = App{Version: "v1.2.3", Handlers: worker.Stock()}.Run(t.Context(), args, Stdio{In: strings.NewReader(""), Out: &out, Err: &errs, Environ: environ})
	return code, out.String(), errs.String()
}
