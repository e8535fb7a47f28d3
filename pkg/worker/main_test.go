package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gofork/gofork/pkg/config"
)

const (
	specEnv  = "GOFORK_TEST_WORKER_SPEC"
	plainEnv = "GOFORK_TEST_PLAIN"
)

// TestMain makes the test binary play a real worker when a spec is in its
// environment, or net/http alone with the worker's handler.
func TestMain(m *testing.M) {
	if text := os.Getenv(specEnv); text != "" {
		var spec Spec
		if err := json.Unmarshal([]byte(text), &spec); err != nil {
			panic(err)
		}
		if os.Getenv(plainEnv) != "" {
			panic(servePlain(spec))
		}
		os.Exit(Run(context.Background(), spec, Stock()[spec.Handler], Options{}))
	}
	goleak.VerifyTestMain(m)
}

// servePlain is the process that the worker is compared with: net/http as anyone
// would write it, on the same inherited socket and with the same timeouts.
func servePlain(spec Spec) error {
	handler, err := Stock()[spec.Handler](Context{Options: spec.Options, Slot: spec.Slot, Generation: spec.Generation})
	if err != nil {
		return err
	}
	listeners, err := inheritedListeners()
	if err != nil {
		return err
	}
	ready := notifier(os.Getenv("NOTIFY_SOCKET"))
	if err := ready("READY=1"); err != nil {
		return fmt.Errorf("cannot say READY=1: %w", err)
	}
	s := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: spec.HTTP.ReadHeaderTimeout,
		IdleTimeout:       spec.HTTP.IdleTimeout,
	}
	return s.Serve(listeners[0]) // until the signal ends the process
}

func testSpec() Spec {
	return Spec{
		Name: "app", Handler: "hello", Slot: 1, Generation: 1,
		DrainDelay: 200 * time.Millisecond, GracefulTimeout: 20 * time.Second,
		StopSignal: syscall.SIGTERM,
		HTTP: config.HTTP{
			TrustedProxies: []string{"127.0.0.0/8", "::1/128"}, MaxHeader: 16 << 10,
			ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second,
		},
	}
}

// testDrain is testSpec with another drain delay.
func testDrain(delay time.Duration) Spec {
	spec := testSpec()
	spec.DrainDelay = delay
	return spec
}

func serveHandler(h http.Handler) Factory {
	return func(Context) (http.Handler, error) { return h, nil }
}

func serveFunc(h http.HandlerFunc) Factory { return serveHandler(h) }

// running is a worker that runs in this process.
type running struct {
	signals  chan os.Signal
	messages chan string
	exit     chan int
	ended    chan struct{} // closed once exit has its code
}

// startWorker runs a worker and returns when it has said READY=1.
func startWorker(t testing.TB, spec Spec, f Factory, opts Options, l ...net.Listener) *running {
	t.Helper()
	w := launch(spec, f, opts, l...)
	w.await(t, "READY=1")
	t.Cleanup(w.kill)
	return w
}

func launch(spec Spec, f Factory, opts Options, l ...net.Listener) *running {
	w := &running{signals: make(chan os.Signal, 4), messages: make(chan string, 64), exit: make(chan int, 1), ended: make(chan struct{})}
	opts.Listeners, opts.Signals = l, w.signals
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Stdout == nil {
		opts.Stdout = io.Discard
	}
	opts.Notify = func(m string) error {
		select {
		case w.messages <- m:
		default:
		}
		return nil
	}
	go func() {
		w.exit <- Run(context.Background(), spec, f, opts)
		close(w.exit)
		close(w.ended)
	}()
	return w
}

func (w *running) await(t testing.TB, message string) {
	t.Helper()
	for {
		select {
		case m := <-w.messages:
			if m == message {
				return
			}
		case <-w.ended:
			// What it said before its end may still wait here.
			for len(w.messages) > 0 {
				if <-w.messages == message {
					return
				}
			}
			t.Fatalf("it ended before %q", message)
		case <-time.After(20 * time.Second):
			t.Fatalf("no %q", message)
		}
	}
}

func (w *running) stop() { w.signals <- syscall.SIGTERM }

func (w *running) kill() {
	select {
	case w.signals <- syscall.SIGQUIT:
	default:
	}
	<-w.exit
}

func (w *running) wantExit(t testing.TB, want int) {
	t.Helper()
	select {
	case code := <-w.exit:
		if code != want {
			t.Fatalf("exit code %d, want %d", code, want)
		}
	case <-time.After(15 * time.Second): // before the graceful timeout of testSpec
		t.Fatal("the worker does not end")
	}
}

func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// dial connects to l until the end of the test.
func dial(t testing.TB, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// share returns another descriptor of the same socket, as a worker inherits it.
func share(t testing.TB, l *net.TCPListener) net.Listener {
	t.Helper()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func httpClient(t testing.TB, protocols ...func(*http.Protocols, bool)) *http.Client {
	p := new(http.Protocols)
	for _, set := range protocols {
		set(p, true)
	}
	tr := &http.Transport{DisableCompression: true}
	if len(protocols) > 0 {
		tr.Protocols = p
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// lines collects what a logger writes.
type lines struct {
	mu sync.Mutex
	b  []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}
