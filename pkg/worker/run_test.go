package worker

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func jsonLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(w, nil)) }

func TestFactoryFailureIsAppLoadFailure(t *testing.T) {
	for name, f := range map[string]Factory{
		"error":      func(Context) (http.Handler, error) { return nil, errors.New("no database") },
		"panic":      func(Context) (http.Handler, error) { panic("no database") },
		"no handler": func(Context) (http.Handler, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			log := new(lines)
			launch(testSpec(), f, Options{Logger: jsonLogger(log)}, listen(t)).wantExit(t, 4)
			if !strings.Contains(log.String(), "app failed to load") {
				t.Fatalf("log: %s", log)
			}
			if name != "no handler" && !strings.Contains(log.String(), "no database") {
				t.Fatalf("no reason: %s", log)
			}
		})
	}
}

func TestSetUpFailureIsBootFailure(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"certificate":     func(s *Spec) { s.HTTP.TLSCert, s.HTTP.TLSKey = "/nonexistent", "/nonexistent" },
		"trusted proxies": func(s *Spec) { s.HTTP.TrustedProxies = []string{"everybody"} },
		"access":          func(s *Spec) { s.Access = "loud" },
	} {
		t.Run(name, func(t *testing.T) {
			spec := testSpec()
			change(&spec)
			launch(spec, Hello, Options{}, listen(t)).wantExit(t, 3)
		})
	}
	t.Run("no inherited sockets", func(t *testing.T) {
		for _, n := range []string{"", "0", "x", "-1", "5000"} {
			t.Setenv("LISTEN_FDS", n)
			launch(testSpec(), Hello, Options{}).wantExit(t, 3)
		}
	})
}

func TestOrphanDoesNotServe(t *testing.T) {
	spec := testSpec()
	spec.ArbiterPID = 1 << 30
	launch(spec, Hello, Options{}, listen(t)).wantExit(t, exitOrphaned)
	for _, c := range []struct {
		arbiter, parent int
		want            bool
	}{{0, 5, false}, {5, 5, false}, {5, 1, true}, {5, 0, false}, {1, 1, false}} {
		if got := orphaned(c.arbiter, c.parent); got != c.want {
			t.Errorf("orphaned(%d, %d) = %v", c.arbiter, c.parent, got)
		}
	}
}

func TestStopWhileTheAppLoadsEndsTheWorker(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	w := launch(testSpec(), func(Context) (http.Handler, error) { <-release; return nil, nil }, Options{}, listen(t))
	w.stop()
	w.wantExit(t, 0)
}

func TestMaxRequestsAsksOnceAndGoesOnServing(t *testing.T) {
	spec := testSpec()
	spec.MaxRequests = 3
	l := listen(t)
	w := startWorker(t, spec, Hello, Options{}, l)
	c := httpClient(t)
	for i := range 10 {
		resp, err := c.Get("http://" + l.Addr().String())
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	w.await(t, "X_GOFORK_RECYCLE=max_requests\n")
	w.stop()
	w.wantExit(t, 0)
	for len(w.messages) > 0 {
		if m := <-w.messages; strings.HasPrefix(m, "X_GOFORK") {
			t.Fatal("asked twice")
		}
	}
}

func TestReopenSignalReopens(t *testing.T) {
	reopened := make(chan struct{}, 1)
	w := startWorker(t, testSpec(), Hello, Options{Reopen: func() { reopened <- struct{}{} }}, listen(t))
	w.signals <- syscall.SIGUSR1
	<-reopened
	w.stop()
	w.wantExit(t, 0)
}

func TestConfiguredStopSignalComesBeforeItsUsualMeaning(t *testing.T) {
	spec := testSpec()
	spec.StopSignal = syscall.SIGQUIT
	w := startWorker(t, spec, Hello, Options{}, listen(t))
	w.signals <- syscall.SIGQUIT
	w.await(t, "STOPPING=1")
	w.wantExit(t, 0)
}

func TestSocketThatBreaksEndsTheWorker(t *testing.T) {
	w := launch(testSpec(), Hello, Options{}, broken{listen(t)})
	if code := <-w.exit; code != exitFailed && code != exitBoot {
		t.Fatalf("exit code %d", code)
	}
}

type broken struct{ net.Listener }

func (broken) Accept() (net.Conn, error) { return nil, errors.New("broken") }

func TestNotifierDoesNotHangOnAFullQueue(t *testing.T) {
	path := t.TempDir() + "/notify"
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	notify := notifier(path)
	if err := notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	var b [64]byte
	if n, _ := l.Read(b[:]); string(b[:n]) != "READY=1" {
		t.Fatalf("got %q", b[:n])
	}
	start := time.Now()
	for range 5000 {
		if err = notify("WATCHDOG=1"); err != nil {
			break
		}
	}
	if err == nil || time.Since(start) > 3*notifyWait {
		t.Fatalf("%v after %v", err, time.Since(start))
	}
	if err := notifier("")("READY=1"); err != nil {
		t.Fatal(err)
	}
}
