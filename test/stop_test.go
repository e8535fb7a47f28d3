//go:build linux

package test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// stopTakes stops gofork gracefully, which takes as long as somebody does not listen.
func (s *server) stopTakes(window time.Duration) {
	s.t.Helper()
	began := time.Now()
	s.stop(patience)
	if took := time.Since(began); took < window || took > window+slack {
		s.t.Errorf("the stop took %s, want %s", took, window)
	}
}

func TestStopKillsAStubbornGroupAfterItsWindow(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.stubborn]
command = ["@TEST", "stubborn", "@DIR/stubborn"]
startsecs = "0s"
stop_timeout = "600ms"
`)
	s.ready()
	leader, child := s.awaitPair("stubborn")
	if child.PGID != leader.PGID || leader.PGID != leader.PID {
		t.Fatalf("leader %v and child %v are not in a group of their own", leader, child)
	}
	s.stopTakes(600 * time.Millisecond)
	if leader.exists() || child.exists() {
		t.Errorf("%v or %v is still there", leader, child)
	}
	killed := s.await("companion.killed")
	for _, p := range []process{leader, child} {
		if !strings.Contains(killed.text("survivors"), strconv.Itoa(p.PID)) {
			t.Errorf("the record does not name %d among those who survived the stop signal: %v", p.PID, killed)
		}
	}
}

// A process that left its group and its session is still something that gofork
// started.
func TestStopLeavesNoDaemonBehind(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.daemonizes]
command = ["@TEST", "daemonize", "@DIR/daemon"]
startsecs = "0s"
stop_timeout = "300ms"
`)
	s.ready()
	leader, daemon := s.awaitPair("daemon")
	if daemon.Session == leader.Session {
		t.Fatalf("%v is in the session of %v", daemon, leader)
	}
	s.stop(patience)
	if daemon.alive() {
		t.Errorf("%v outlives gofork", daemon)
	}
}

func TestStopReachesCompanionsInEveryState(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		state     string
		companion string
		reach     func(s *server) // nil: the state is asked for until it is this one
		within    time.Duration
	}{
		{
			state: control.Backoff,
			companion: `command = ["false"]
backoff_initial = "60s"
backoff_max = "60s"`,
			within: slack,
		},
		{
			state: control.Starting,
			companion: `command = ["sleep", "1000"]
startsecs = "60s"`,
			within: slack,
		},
		{
			state: control.Stopping,
			companion: `command = ["@TEST", "stubborn", "@DIR/pair"]
startsecs = "0s"
stop_timeout = "3s"`,
			reach: func(s *server) {
				s.awaitPair("pair")
				s.must("companion", "stop", "--no-wait", "it")
				s.await("companion.stopping")
			},
			within: 3*time.Second + slack,
		},
		{
			state: control.Fatal,
			companion: `command = ["false"]
startretries = 1
backoff_initial = "10ms"`,
			within: slack,
		},
		{
			state: control.Exited,
			companion: `command = ["true"]
startsecs = "0s"
autorestart = "never"`,
			within: slack,
		},
		{
			state: control.Stopped,
			companion: `command = ["sleep", "1000"]
autostart = false`,
			within: slack,
		},
	} {
		t.Run(tt.state, func(t *testing.T) {
			t.Parallel()
			s := start(t, "[companion.it]\n"+tt.companion+"\n")
			s.await("manager.ready")
			if tt.reach != nil {
				tt.reach(s)
				if len(s.journal.all(is("companion.stopped"))) > 0 {
					t.Fatal("too late: the state has passed")
				}
			} else {
				s.awaitCompanion("it", tt.state)
			}
			s.stop(tt.within)
		})
	}
}

// Companions stop at the same time: three hundred need no longer than a few.
func TestStopOfThreeHundredCompanions(t *testing.T) {
	t.Parallel()
	const count = 300
	s := start(t, fmt.Sprintf(`
[log]
level = "info"
[companion.many]
command = ["sleep", "1000"]
numprocs = %d
startsecs = "0s"
`, count))
	st := s.ready()
	if len(st.Companions) != count {
		t.Fatalf("%d instances, want %d", len(st.Companions), count)
	}
	var all []process
	for _, c := range st.Companions {
		p := mustLookup(t, c.PID)
		if p.PPID != st.Manager.PID || p.PGID != p.PID {
			t.Errorf("%v is not the manager's child in a group of its own", p)
		}
		all = append(all, p)
	}
	s.stop(slack)
	for _, p := range all {
		if p.exists() {
			t.Errorf("%v is still there", p)
		}
	}
}

func TestQuickStopAsksOnceAndKillsAfterFiveSeconds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		ask  func(s *server)
	}{
		{"SIGINT", func(s *server) { s.signal(syscall.SIGINT) }},
		{"SIGQUIT", func(s *server) { s.signal(syscall.SIGQUIT) }},
		{"second SIGTERM", func(s *server) {
			s.signal(syscall.SIGTERM)
			s.await("server.stopping")
			s.awaitLines("worker", 2)
			s.signal(syscall.SIGTERM)
		}},
		{"command", func(s *server) { s.must("stop", "--quick") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, `
[server]
graceful_timeout = "60s"
[worker]
command = ["@TEST", "record", "@DIR/worker"]
count = 1
ready = "alive"
ready_after = "50ms"
[companion.companion]
command = ["@TEST", "record", "@DIR/companion"]
startsecs = "0s"
stop_signal = "SIGHUP"
stop_timeout = "60s"
`)
			s.ready()
			s.awaitLines("worker", 1)
			s.awaitLines("companion", 1)
			began := time.Now()
			tt.ask(s)
			s.ends(5*time.Second + slack)
			if took := time.Since(began); took < 4900*time.Millisecond {
				t.Errorf("the stop took %s, want 5s for those who do not listen", took)
			}
			if got := tryRead(s.path("worker")); !strings.Contains(got, "quit\n") {
				t.Errorf("the worker was not sent SIGQUIT; it saw\n%s", got)
			}
			if got := tryRead(s.path("companion")); strings.Count(got, "hangup\n") != 1 {
				t.Errorf("the companion was not sent its stop_signal once; it saw\n%s", got)
			}
		})
	}
}

func TestQuickStopOfPoliteChildrenKillsNobody(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[companion.polite]
command = ["sleep", "1000"]
startsecs = "0s"
`)
	s.ready()
	s.signal(syscall.SIGINT)
	s.ends(patience)
	for _, r := range s.journal.all(func(r record) bool { return strings.HasSuffix(r.Event, ".killed") }) {
		t.Errorf("somebody who listens was killed: %v", r)
	}
}

// systemd signals a whole cgroup, a terminal a whole group, and people press the
// keys until something happens: the last of these signals meet processes that have
// as good as ended.
func TestSignalsToTheLastMomentLeaveTheExitCode(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[companion.polite]
command = ["sleep", "1000"]
startsecs = "0s"
`)
	manager := s.ready().Manager.PID
	for ended := false; !ended; {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
		if p, ok := lookup(manager); ok && p.PPID == s.pid() {
			_ = syscall.Kill(manager, syscall.SIGTERM)
		}
		select {
		case <-s.exited:
			ended = true
		default:
		}
	}
	if code := s.exit(patience); code != 0 {
		t.Errorf("gofork ended with exit code %d, want 0", code)
	}
	s.await("manager.exited", "expected", true, "code", float64(0))
}

func TestGracefulStopAnswersWhatIsInFlight(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello)
	s.ready()
	slow := []<-chan answer{s.begin("/sleep?d=1s"), s.begin("/sleep?d=500ms")}
	s.stop(patience)
	s.awaitAnswers(slow...)
}

// A client must not think that it may send the next request on a connection
// that ends with the worker.
func TestAnswersOfADrainingWorkerCloseTheConnection(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
handler = "hello"
count = 1
`)
	s.ready()
	running := s.begin("/sleep?d=1s")
	s.stop(patience)
	if a := s.awaitAnswer(running); a.err != nil || !a.close {
		t.Errorf(`the answer to a request in flight says "Connection: close": %v, error %v; want it said`, a.close, a.err)
	}
}

// The same for a program of another kind, which drains on SIGTERM by itself.
func TestGracefulStopWaitsForACommandWorker(t *testing.T) {
	t.Parallel()
	s := start(t, httpWorkers(1))
	s.ready()
	held := s.hold()
	s.stop(patience)
	if a := s.awaitAnswer(held); a.err != nil || a.body != "held" {
		t.Errorf("the request in flight got %q, error %v", a.body, a.err)
	}
}

func TestWorkerThatDoesNotDrainIsKilledAfterGracefulTimeout(t *testing.T) {
	t.Parallel()
	s := start(t, `
[server]
graceful_timeout = "500ms"
[worker]
command = ["@TEST", "record", "@DIR/worker"]
count = 1
ready = "alive"
ready_after = "50ms"
`)
	s.ready()
	s.awaitLines("worker", 1)
	s.stopTakes(500 * time.Millisecond)
	if got := tryRead(s.path("worker")); strings.Count(got, "terminated\n") != 1 {
		t.Errorf("the worker was not sent SIGTERM once; it saw\n%s", got)
	}
	s.await("worker.killed")
}

func TestShutdownDelayKeepsServing(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[server]
shutdown_delay = "1500ms"
`)
	s.ready()
	if a := getUnix(s.sock, "/readyz"); a.code != http.StatusOK {
		t.Errorf("/readyz is %d before the stop, want 200", a.code)
	}
	began := time.Now()
	s.signal(syscall.SIGTERM)
	s.await("server.stopping")
	if a := getUnix(s.sock, "/readyz"); a.code != http.StatusServiceUnavailable {
		t.Errorf("/readyz is %d during shutdown_delay, want 503", a.code)
	}
	if a := getUnix(s.sock, "/livez"); a.code != http.StatusOK {
		t.Errorf("/livez is %d during shutdown_delay, want 200", a.code)
	}
	s.mustGet("/")
	s.ends(patience)
	if took := time.Since(began); took < 1500*time.Millisecond {
		t.Errorf("gofork ended after %s, before its shutdown_delay", took)
	}
}

func TestStopCommandEndsGoforkAndItsFiles(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[server]
bind = ["unix:@DIR/web.sock"]
pidfile = "@DIR/app.pid"
`)
	s.ready()
	if got := s.pidIn("app.pid"); got != s.pid() {
		t.Errorf("the pidfile holds %d, want %d", got, s.pid())
	}
	s.served(s.path("web.sock"), "before the stop")
	s.must("stop")
	s.ends(patience)
	s.gone("web.sock", "app.pid", "run/app.sock")
}
