//go:build linux

package test

import (
	"fmt"
	"net"
	"testing"
	"time"
)

func TestFirstBootFailureEndsGofork(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		code    int // of the worker
		retries int
		want    int // of gofork
		starts  int
		reason  string
	}{
		{"worker failed to boot", 3, 5, 3, 1, "worker failed to boot"},
		{"app failed to load", 4, 5, 4, 1, "app failed to load"},
		{"other exit without retries", 7, 0, 3, 1, "worker failed to boot"},
		{"other exit with one retry", 7, 1, 3, 2, "worker failed to boot"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, fmt.Sprintf(`
[worker]
command = ["@TEST", "exit", "%d"]
count = 1
ready = "alive"
ready_after = "10s"
boot_retries = %d

[companion.beside]
command = ["sleep", "1000"]
stop_timeout = "1s"
`, tt.code, tt.retries))
			if code := s.exit(patience); code != tt.want {
				t.Errorf("gofork ended with exit code %d, want %d", code, tt.want)
			}
			if got := len(s.journal.all(is("worker.started"))); got != tt.starts {
				t.Errorf("%d workers were started, want %d", got, tt.starts)
			}
			if len(s.journal.all(says(tt.reason))) == 0 {
				t.Errorf("no record gives the reason %q", tt.reason)
			}
		})
	}
}

func TestWorkerThatIsNeverReadyIsKilledAtBootTimeout(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
command = ["sleep", "1000"]
count = 1
ready = "notify"
boot_timeout = "300ms"
boot_retries = 0
`)
	if code := s.exit(patience); code != 3 {
		t.Errorf("gofork ended with exit code %d, want 3", code)
	}
	started, exited := s.await("worker.started"), s.await("worker.exited")
	// The clock runs from before the process exists, which takes a busy machine a while.
	if up := exited.At.Sub(started.At); up < 150*time.Millisecond {
		t.Errorf("the worker was ended after %s, before its boot_timeout", up)
	}
	if exited.text("signal") != "SIGKILL" {
		t.Errorf("want an end by SIGKILL, got %v", exited)
	}
	if len(s.journal.all(says("boot_timeout"))) == 0 {
		t.Error("no record names boot_timeout as the clock that ran out")
	}
}

func TestAnAddressThatIsNotToBeHadIsTriedFiveTimes(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	for _, tt := range []struct{ address, reason string }{
		{taken.Addr().String(), "address already in use"},
		{"192.0.2.1:80", "cannot assign requested address"}, // of documentation (RFC 5737), so of no machine
	} {
		t.Run(tt.reason, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			s := start(t, fmt.Sprintf("[server]\nbind = [%q]\n[worker]\nhandler = \"hello\"\n", tt.address))
			if code := s.exit(patience); code != 1 {
				t.Errorf("gofork ended with exit code %d, want 1", code)
			}
			if took := time.Since(began); took < 4*time.Second || took > 5*time.Second+slack {
				t.Errorf("gofork gave up after %s, want five tries 1s apart", took)
			}
			if n := len(s.journal.all(says(tt.reason))); n != 5 {
				t.Errorf("%d records say that the %s, want one for each try", n, tt.reason)
			}
		})
	}
}
