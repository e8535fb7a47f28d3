//go:build linux

package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// What is down for whatever reason comes up when somebody says so, at once.
func TestStartWorksInEveryState(t *testing.T) {
	t.Parallel()
	gate := script("[ -e @DIR/good ] || exit 1; exec sleep 1000")
	s := start(t, `
[companion_defaults]
startsecs = "50ms"
stop_timeout = "300ms"
backoff_initial = "10ms"
[companion.backoff]
`+gate+`
backoff_initial = "60s"
backoff_max = "60s"
[companion.fatal]
`+gate+`
startretries = 1
[companion.exited]
`+gate+`
autorestart = "never"
[companion.stopped]
`+gate+`
autostart = false
[companion.stopping]
command = ["@TEST", "stubborn", "@DIR/pair"]
[companion.running]
command = ["sleep", "1000"]
`)
	leader, child := s.awaitPair("pair")
	s.awaitCompanion("stopping", control.Running)
	running := s.awaitCompanion("running", control.Running).PID
	for _, state := range []string{control.Backoff, control.Fatal, control.Exited, control.Stopped} {
		s.awaitCompanion(strings.ToLower(state), state)
	}
	writeFile(t, s.path("good"), "")
	s.must("companion", "stop", "--no-wait", "stopping")
	for _, id := range []string{"stopping", "backoff", "fatal", "exited", "stopped", "running"} {
		s.must("companion", "start", id)
		if c := companion(t, s.look(), id); c.State != control.Running || c.Desired != control.Up || c.Failures != 0 {
			t.Errorf("it was started: %+v", c)
		}
	}
	if leader.alive() || child.alive() {
		t.Errorf("%v or %v lives beside what was started after it", leader, child)
	}
	if pid := companion(t, s.look(), "running").PID; pid != running {
		t.Errorf("a start of what runs has replaced pid %d by %d", running, pid)
	}
}

// A manager that crashes again waits for longer, as a companion does.
func TestManagersCrashesBackOff(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.it]
command = ["sleep", "1000"]
startsecs = "0s"
`)
	s.await("manager.ready")
	for n, delay := range []time.Duration{time.Second, 2 * time.Second} {
		m := s.mark()
		kill(t, mustLookup(t, s.look().Manager.PID), syscall.SIGKILL)
		exited := s.awaitSince(m, "manager.exited", "expected", false)
		if r := s.awaitSince(m, "manager.backoff"); r.text("failures") != fmt.Sprint(n+1) || r.text("delay") != fmt.Sprint(delay.Seconds()) {
			t.Errorf("want failure %d and a delay of %s, got %v", n+1, delay, r)
		}
		started := s.awaitSince(m, "manager.started")
		if waited := started.At.Sub(exited.At); waited < delay-50*time.Millisecond || waited > delay+slack {
			t.Errorf("crash %d: another manager came after %s, want %s", n+1, waited, delay)
		}
		s.awaitSince(m, "manager.ready")
	}
}
