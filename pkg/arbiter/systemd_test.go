package arbiter

import (
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/handoff"
)

func TestWatchdogCountsOnlyWhenItIsForThisProcess(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want time.Duration
		bad  bool
	}{
		{nil, 0, false},
		{[]string{"WATCHDOG_USEC=2000000"}, time.Second, false},
		{[]string{"WATCHDOG_USEC=2000000", "WATCHDOG_PID=7"}, time.Second, false},
		{[]string{"WATCHDOG_USEC=2000000", "WATCHDOG_PID=8"}, 0, false},
		{[]string{"WATCHDOG_USEC=2000000", "WATCHDOG_PID=07"}, 0, false},
		{[]string{"WATCHDOG_PID=7"}, 0, false},
		{[]string{"WATCHDOG_USEC="}, 0, false},
		{[]string{"WATCHDOG_USEC=0"}, 0, true},
		{[]string{"WATCHDOG_USEC=-5"}, 0, true},
		{[]string{"WATCHDOG_USEC=1s"}, 0, true},
		{[]string{"WATCHDOG_USEC=9223372036854775807"}, 0, true},
		{[]string{"WATCHDOG_USEC=x", "WATCHDOG_PID=8"}, 0, false},
	} {
		got, err := watchdogOf(c.env, 7)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%q: %v, %v; want %v", c.env, got, err, c.want)
		}
	}
}

// superior is a supervisor above that notes what it is told.
type superior struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newSuperior(t *testing.T) *superior {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &superior{t, conn, path}
}

// told is what came in and was not read yet.
func (s *superior) told() []string {
	s.t.Helper()
	var all []string
	var b [8192]byte
	for {
		// Sending is synchronous: what is not there now was not sent.
		if err := s.conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			s.t.Fatal(err)
		}
		n, err := s.conn.Read(b[:])
		if err != nil {
			return all
		}
		all = append(all, string(b[:n]))
	}
}

func (s *superior) wants(want ...string) {
	s.t.Helper()
	got := s.told()
	if len(got) != len(want) {
		s.t.Fatalf("told %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			s.t.Errorf("told %q, want %q", got, want)
		}
	}
}

// loopOf is a loop around a rig's core that nobody runs.
func loopOf(r *rig, s *superior, environ ...string) *loop {
	l := newLoop(Options{Config: r.core.config, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Environ: environ, PID: 7, Systemd: s.path})
	l.core = r.core
	l.beginAbove()
	return l
}

func TestHeartbeatIsDueAtHalfTheTime(t *testing.T) {
	s := newSuperior(t)
	r := serving(t, configOf(2))
	l := loopOf(r, s, "WATCHDOG_USEC=20000000")
	now := r.now
	for range 3 {
		at := l.aboveDeadline(now)
		if !at.Equal(now) {
			t.Fatalf("due in %v, want now", at.Sub(now))
		}
		l.aboveDue(now)
		s.wants("WATCHDOG=1")
		l.aboveDue(now.Add(10*time.Second - 1))
		s.wants()
		now = now.Add(10 * time.Second)
	}
}

func TestYoungerArbiterIsSilentUntilItIsPromoted(t *testing.T) {
	s := newSuperior(t)
	r := serving(t, configOf(1))
	l := loopOf(r, s, "WATCHDOG_USEC=20000000")
	l.Lineage.Parent = 6
	if at := l.aboveDeadline(r.now); !at.IsZero() {
		t.Errorf("something is due at %v", at)
	}
	l.tellAbove()
	l.tellSystemd("STOPPING=1") // its own end, not the service's
	s.wants()
	l.Lineage.Parent = 0
	l.tellAbove()
	l.aboveDeadline(r.now)
	l.aboveDue(r.now)
	s.wants("STATUS=1 of 1 worker ready", "WATCHDOG=1")
}

func TestLongStopAsksForTimeAgainAndAgain(t *testing.T) {
	s := newSuperior(t)
	r := serving(t, configOf(1))
	l := loopOf(r, s)
	if at := l.aboveDeadline(r.now); !at.IsZero() {
		t.Fatalf("something is due at %v while nothing stops", at)
	}
	r.stop(false)
	for now := r.now; now.Before(r.now.Add(30 * time.Second)); now = now.Add(extendEvery) {
		if at := l.aboveDeadline(now); !at.Equal(now) {
			t.Fatalf("due at %v, want %v", at, now)
		}
		l.aboveDue(now)
		s.wants("EXTEND_TIMEOUT_USEC=30000000")
	}
	if extension < 2*extendEvery {
		t.Error("one extension that is late is the end")
	}
}

// asks is when more time is asked for within d, without answering anything else.
func asks(l *loop, r *rig, d time.Duration) (at []time.Duration) {
	from := r.now
	for end := r.now.Add(d); ; {
		next := l.aboveDeadline(r.now)
		if next.IsZero() || next.After(end) {
			r.pass(end.Sub(r.now))
			return at
		}
		r.pass(next.Sub(r.now))
		l.aboveDue(r.now)
		at = append(at, r.now.Sub(from))
	}
}

func wantAsks(t *testing.T, what string, got []time.Duration, want ...time.Duration) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: asked for more time after %v, want %v", what, got, want)
	}
}

func TestLongBootAsksForTimeAsLongAsItsOwnClocksRun(t *testing.T) {
	s := newSuperior(t)
	r := newRig(t, configOf(2))
	l := loopOf(r, s)
	wantAsks(t, "both boot", asks(l, r, 25*time.Second), time.Second, 11*time.Second, 21*time.Second)
	r.ready("1.1")
	wantAsks(t, "one boots", asks(l, r, 10*time.Second), 6*time.Second)
	// From now on nothing but the unit's clock can end it: the second worker may
	// fail for ever, and the first one serves.
	r.exit("2.1", exitStatus{code: 1})
	wantAsks(t, "one fails again and again", asks(l, r, time.Minute))
	r.ready("2.2")
	wantAsks(t, "ready", asks(l, r, time.Hour))
}

func TestBootThatNothingBoundsAsksForNoTime(t *testing.T) {
	r := newRig(t, configOf(0, companions("queue")))
	l := loopOf(r, newSuperior(t))
	wantAsks(t, "the manager starts", asks(l, r, time.Minute))
}

func TestLongReloadAsksForTime(t *testing.T) {
	s := newSuperior(t)
	r := serving(t, configOf(1))
	l := loopOf(r, s)
	r.askReload()
	wantAsks(t, "it loads", asks(l, r, 15*time.Second), time.Second, 11*time.Second)
	// systemd's clock for the stop is another one.
	r.stop(false)
	wantAsks(t, "it stops", asks(l, r, 5*time.Second), 0)
}

// The stop may be over when the loop's timer is looked at for the first time.
func TestTimeIsAskedForBeforeTheLoopWaits(t *testing.T) {
	s := newSuperior(t)
	r := serving(t, configOf(1))
	l := loopOf(r, s)
	r.core.stop.asked, r.core.stop.askedAt = true, time.Now()
	l.tellAbove()
	if told := s.told(); !slices.ContainsFunc(told, func(text string) bool { return strings.HasPrefix(text, "EXTEND_TIMEOUT_USEC=") }) {
		t.Errorf("told %q", told)
	}
}

func TestSupervisorThatDoesNotListenIsLoggedOnce(t *testing.T) {
	r := serving(t, configOf(1))
	var log strings.Builder
	l := newLoop(Options{Config: r.core.config, Logger: slog.New(slog.NewTextHandler(&log, nil)), Systemd: filepath.Join(t.TempDir(), "nobody")})
	l.core = r.core
	for range 3 {
		l.tellSystemd("WATCHDOG=1")
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}

func TestRemarksDoNotWaitForASupervisorThatStandsStill(t *testing.T) {
	s := newSuperior(t)
	r := serving(t, configOf(1))
	l := loopOf(r, s)
	for handoff.NotifyWithin(s.path, "STATUS=filling its queue", time.Millisecond) == nil {
	}
	begin := time.Now()
	for range 10 {
		l.tellAbove()
		l.tellSystemd("WATCHDOG=1")
		l.tellSystemd("EXTEND_TIMEOUT_USEC=1")
	}
	if took := time.Since(begin); took > tellPatience/2 {
		t.Errorf("30 remarks took %v", took)
	}
	s.told()
	l.tellAbove()
	s.wants("STATUS=1 of 1 worker ready") // which could not be told before
}

func TestStatusTextSaysThatTheLastReloadFailed(t *testing.T) {
	s := newSuperior(t)
	r := serving(t, configOf(1))
	l := loopOf(r, s)
	r.askReload()
	r.do(configLoaded{number: 2, err: "app.toml:3: worker.cuont: unknown key"})
	l.tellAbove()
	s.wants("STATUS=1 of 1 worker ready; the last reload failed")
}

func TestStopThatHandsOverAsksForNoTime(t *testing.T) {
	s := newSuperior(t)
	r := serving(t, configOf(1))
	l := loopOf(r, s)
	r.core.upgrade.phase, r.core.upgrade.child = upgradeBeside, 99
	r.stop(false)
	if at := l.aboveDeadline(r.now); !at.IsZero() {
		t.Errorf("something is due: the service goes on in the child")
	}
}

func TestStatusTextFollowsWhatHappens(t *testing.T) {
	s := newSuperior(t)
	r := newRig(t, configOf(2, companions("queue", "mail", "cron")))
	l := loopOf(r, s)
	tell := func(want string) {
		t.Helper()
		l.tellAbove()
		s.wants("STATUS=" + want)
		l.tellAbove()
		s.wants() // not twice
	}
	tell("starting: 0 of 2 workers ready, 0 of 3 companions running")
	r.managerUp()
	r.ready("1.1")
	tell("starting: 1 of 2 workers ready, 3 companions")
	r.ready("2.1")
	l.tellSystemd("READY=1\n" + statusRunning)
	s.wants("READY=1\nSTATUS=2 of 2 workers ready, 3 companions")
	l.tellAbove()
	s.wants()
	r.exit("2.1", byKill)
	tell("1 of 2 workers ready, 3 companions")
	r.ready("2.2")
	tell("2 of 2 workers ready, 3 companions")
	r.askReload()
	tell("reloading: 2 of 2 workers ready, 3 companions")
	r.stop(false)
	tell("stopping: 2 workers, 3 companions left")
	r.drained()
	tell("stopping: 0 workers, 3 companions left")
}

func TestReasonOfAFailureStands(t *testing.T) {
	s := newSuperior(t)
	r := newRig(t, configOf(1))
	l := loopOf(r, s)
	r.exit("1.1", exitStatus{code: codeLoadFailed})
	for _, a := range r.last {
		if a, ok := a.(tellSystemd); ok {
			l.tellSystemd(a.state)
		}
	}
	l.tellAbove()
	s.wants("STOPPING=1\nSTATUS=app failed to load")
}

func TestWithoutASupervisorAboveNothingIsDue(t *testing.T) {
	r := serving(t, configOf(1))
	l := loopOf(r, &superior{}, "WATCHDOG_USEC=20000000")
	r.do(stopAsked{by: syscall.SIGTERM.String()})
	if at := l.aboveDeadline(r.now); !at.IsZero() {
		t.Errorf("something is due at %v", at)
	}
	l.tellAbove()
}

func TestUpgradePassesTheWatchdogOn(t *testing.T) {
	env := withoutHandover([]string{"WATCHDOG_USEC=5", "WATCHDOG_PID=7", "A=b"})
	if every, err := watchdogOf(env, 8); every == 0 || err != nil {
		t.Errorf("%q: the new arbiter is not watched", env)
	}
}
