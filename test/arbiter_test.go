//go:build linux

package test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

func TestKilledArbiterLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
command = ["@TEST", "http"]
count = 2
[companion_defaults]
startsecs = "0s"
[companion.polite]
command = ["@TEST", "exclusive", "@DIR/polite"]
[companion.stubborn]
command = ["@TEST", "stubborn", "@DIR/stubborn"]
stop_timeout = "700ms"
`)
	st := s.ready()
	s.awaitPair("stubborn")
	s.awaitLines("polite", 1)
	var workers []process
	for _, pid := range workerPIDs(st) {
		workers = append(workers, mustLookup(t, pid))
	}
	all := s.everything()

	s.signal(syscall.SIGKILL)
	s.exit(patience)
	awaitEnd(t, time.Second, workers...)
	awaitEnd(t, 700*time.Millisecond+slack, all...)
	if left := s.everything(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if got := tryRead(filepath.Join(s.dir, "polite")); !strings.Contains(got, "stop ") {
		t.Errorf("the companion was not asked to stop; it did\n%s", got)
	}
}

func TestKilledArbiterEndsHandlerWorkers(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello)
	s.ready()
	all := s.everything()
	s.signal(syscall.SIGKILL)
	s.exit(patience)
	awaitEnd(t, 2*time.Second, all...)
}

// A killed arbiter's sockets and pidfile are in nobody's way, and do not pile up.
func TestGoforkStartsAgainAfterAKill(t *testing.T) {
	t.Parallel()
	config := twoHello + `
[server]
pidfile = "@DIR/app.pid"
`
	s := start(t, config)
	s.ready()
	all := s.everything()
	s.signal(syscall.SIGKILL)
	s.exit(patience)
	awaitEnd(t, patience, all...)

	again := start(t, readFile(t, s.file))
	again.sock = s.sock
	again.await("server.ready")
	again.awaitStatus("it runs", func(st control.Status) bool { return st.PID == again.pid() })
	left, err := filepath.Glob(filepath.Join(filepath.Dir(s.sock), "*"))
	want := []string{filepath.Join(filepath.Dir(s.sock), fmt.Sprintf("app.%d.notify", again.pid())), s.sock}
	if err != nil || !slices.Equal(left, want) {
		t.Errorf("in the runtime directory are %v (%v), want %v", left, err, want)
	}
}
