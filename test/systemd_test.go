//go:build linux

package test

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/control"
)

// supervisor plays systemd for one gofork: it notes every datagram that comes to
// its notify socket, with who sent it.
type supervisor struct {
	t    testing.TB
	path string

	mu      sync.Mutex
	told    []telling
	changed chan struct{}
}

type telling struct {
	pid  int
	text string
	at   time.Time
}

func newSupervisor(t testing.TB) *supervisor {
	t.Helper()
	u := &supervisor{t: t, path: filepath.Join(shortTempDir(t), "systemd"), changed: make(chan struct{})}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: u.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { u.read(conn) })
	t.Cleanup(func() {
		conn.Close()
		reading.Wait()
		if t.Failed() {
			u.mu.Lock()
			defer u.mu.Unlock()
			for _, m := range u.told {
				t.Logf("%s pid %d told systemd %q", m.at.Format(time.TimeOnly+".000"), m.pid, m.text)
			}
		}
	})
	return u
}

func (u *supervisor) read(conn *net.UnixConn) {
	text, control := make([]byte, 8192), make([]byte, 256)
	for {
		n, oobn, _, _, err := conn.ReadMsgUnix(text, control)
		if err != nil {
			return
		}
		m := telling{text: string(text[:n]), at: time.Now()}
		if messages, err := unix.ParseSocketControlMessage(control[:oobn]); err == nil && len(messages) == 1 {
			if cred, err := unix.ParseUnixCredentials(&messages[0]); err == nil {
				m.pid = int(cred.Pid)
			}
		}
		u.mu.Lock()
		u.told = append(u.told, m)
		close(u.changed)
		u.changed = make(chan struct{})
		u.mu.Unlock()
	}
}

// all is what it was told that begins so.
func (u *supervisor) all(prefix string) []telling {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(u.told), func(m telling) bool { return !strings.HasPrefix(m.text, prefix) })
}

// await waits until it was told n times what begins so, and returns the last.
func (u *supervisor) await(n int, prefix string) telling {
	u.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		u.mu.Lock()
		changed := u.changed
		u.mu.Unlock()
		if found := u.all(prefix); len(found) >= n {
			return found[n-1]
		}
		select {
		case <-changed:
		case <-deadline.C:
			u.t.Fatalf("systemd was not told %q %d times within %s", prefix, n, patience)
		}
	}
}

// asUnit starts gofork as systemd does, which gives the main process its own pid
// in WATCHDOG_PID.
func (u *supervisor) asUnit(config string, watchdog time.Duration, options ...option) *server {
	u.t.Helper()
	options = append(options, withEnv("NOTIFY_SOCKET="+u.path))
	if watchdog > 0 {
		options = append(options, withEnv("WATCHDOG_USEC="+strconv.FormatInt(watchdog.Microseconds(), 10)),
			withWrapper("sh", "-c", `export WATCHDOG_PID=$$; exec "$@"`, "sh"))
	}
	return start(u.t, config, options...)
}

func TestSystemdHearsOfTheWholeLife(t *testing.T) {
	t.Parallel()
	u := newSupervisor(t)
	s := u.asUnit(twoHello+`
[companion.beside]
command = ["sleep", "1000"]
startsecs = "0s"
`, 0)
	s.ready()
	ready := u.await(1, "READY=1")
	if !strings.HasPrefix(ready.text, "READY=1\nSTATUS=2 of 2 workers ready") || ready.pid != s.pid() {
		t.Errorf("%+v", ready)
	}
	eventually(t, "the status names what runs", func() bool {
		told := append(u.all("READY=1\nSTATUS="), u.all("STATUS=")...)
		last := slices.MaxFunc(told, func(a, b telling) int { return a.at.Compare(b.at) })
		return strings.HasSuffix(last.text, "STATUS=2 of 2 workers ready, 1 companion")
	})

	before := monotonicNow(t)
	s.must("reload")
	reloading := u.await(1, "RELOADING=1")
	_, usec, ok := strings.Cut(reloading.text, "\nMONOTONIC_USEC=")
	if n, err := strconv.ParseInt(usec, 10, 64); !ok || err != nil || time.Duration(n)*time.Microsecond < before || time.Duration(n)*time.Microsecond > monotonicNow(t) {
		t.Errorf("%q, want the moment of the reload (%v …)", reloading.text, before)
	}
	if again := u.await(2, "READY=1"); again.at.Before(reloading.at) {
		t.Error("READY=1 of the reload came before its RELOADING=1")
	}

	// One that fails ends as well, and systemd (Type=notify-reload) asks by SIGHUP.
	s.edit("count = 2", "count = two")
	s.signal(syscall.SIGHUP)
	failing := u.await(2, "RELOADING=1")
	if again := u.await(3, "READY=1"); again.at.Before(failing.at) {
		t.Error("READY=1 of the failed reload came before its RELOADING=1")
	}
	s.edit("count = two", "count = 2")

	kill(t, mustLookup(t, s.status().Workers.List[0].PID), syscall.SIGKILL)
	u.await(1, "STATUS=1 of 2 workers ready, 1 companion")

	n := len(u.all("EXTEND_TIMEOUT_USEC=")) // a boot or reload that took more than a second
	s.stop(patience)
	stopping := u.await(1, "STOPPING=1")
	extended := u.await(n+1, "EXTEND_TIMEOUT_USEC=")
	if stopping.at.Before(reloading.at) || extended.at.Before(stopping.at) {
		t.Errorf("STOPPING=1 at %v, more time at %v", stopping.at, extended.at)
	}
	if n := len(u.all("WATCHDOG=1")); n > 0 {
		t.Errorf("%d heartbeats that nobody asked for", n)
	}
	for _, m := range u.all("") {
		if m.pid != s.pid() {
			t.Errorf("%+v did not come from the main process", m)
		}
	}
}

func monotonicNow(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

func TestSystemdGetsHeartbeatsInTime(t *testing.T) {
	t.Parallel()
	const watchdog = 4 * time.Second
	u := newSupervisor(t)
	s := u.asUnit(twoHello, watchdog)
	s.ready()
	u.await(4, "WATCHDOG=1")
	beats := u.all("WATCHDOG=1")
	for i := 1; i < len(beats); i++ {
		if gap := beats[i].at.Sub(beats[i-1].at); gap < watchdog/4 || gap >= watchdog {
			t.Errorf("%v between two heartbeats, want about %v", gap, watchdog/2)
		}
	}
	for _, p := range s.everything() {
		if p.PID == s.pid() {
			continue
		}
		env := environ(p.PID)
		if env["NOTIFY_SOCKET"] == u.path || env["WATCHDOG_PID"] == strconv.Itoa(s.pid()) {
			t.Errorf("%v has systemd's variables", p)
		}
	}
	// A gofork that hangs is silent: that is what systemd wants to know.
	s.signal(syscall.SIGSTOP)
	n := len(u.all("WATCHDOG=1"))
	<-time.After(watchdog)
	if more := len(u.all("WATCHDOG=1")) - n; more > 1 { // one may have been on its way
		t.Errorf("%d heartbeats of a stopped process", more)
	}
	s.signal(syscall.SIGCONT)
	u.await(n+2, "WATCHDOG=1")
}

func TestHeartbeatsForAnotherProcessAreNotSent(t *testing.T) {
	t.Parallel()
	u := newSupervisor(t)
	s := u.asUnit(twoHello, 0, withEnv("WATCHDOG_USEC=100000", "WATCHDOG_PID=1"))
	s.ready()
	s.stop(patience)
	u.await(1, "STOPPING=1")
	if n := len(u.all("WATCHDOG=1")); n > 0 {
		t.Errorf("%d heartbeats", n)
	}
}

func TestLongStopAsksSystemdForTimeAgain(t *testing.T) {
	t.Parallel()
	u := newSupervisor(t)
	s := u.asUnit(twoHello, 0)
	s.ready()
	held := s.begin("/sleep?d=13s")
	n := len(u.all("EXTEND_TIMEOUT_USEC="))
	s.signal(syscall.SIGTERM)
	first := u.await(n+1, "EXTEND_TIMEOUT_USEC=")
	second := u.await(n+2, "EXTEND_TIMEOUT_USEC=")
	usec, err := strconv.ParseInt(strings.TrimPrefix(first.text, "EXTEND_TIMEOUT_USEC="), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if gap := second.at.Sub(first.at); gap >= time.Duration(usec)*time.Microsecond*2/3 {
		t.Errorf("asked for %dµs, and again only after %v", usec, gap)
	}
	if a := s.awaitAnswer(held); a.code != 200 {
		t.Errorf("the request that it was for: %+v", a)
	}
	u.await(1, "STATUS=stopping: 1 worker, 0 companions left")
	if code := s.exit(patience); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestSystemdIsAskedForTimeWhileABootAndAReloadTakeLong(t *testing.T) {
	t.Parallel()
	u := newSupervisor(t)
	s := u.asUnit(`
[worker]
command = ["@TEST", "http"]
count = 1
ready = "alive"
ready_after = "1500ms"
`, 0)
	ready := u.await(1, "READY=1")
	if asked := u.await(1, "EXTEND_TIMEOUT_USEC=30000000"); asked.at.After(ready.at) {
		t.Error("the boot was over when more time was asked for")
	}
	n := len(u.all("EXTEND_TIMEOUT_USEC="))
	s.must("reload")
	if asked, again := u.await(n+1, "EXTEND_TIMEOUT_USEC="), u.await(2, "READY=1"); asked.at.After(again.at) {
		t.Error("the reload was over when more time was asked for")
	}
}

func TestSystemdHearsNothingOfAnUpgradeThatIsBackedOut(t *testing.T) {
	t.Parallel()
	u := newSupervisor(t)
	s := u.asUnit(twoHello, 0)
	s.ready()
	s.must("upgrade")
	second := runGofork(t, s.id, s.dir, "status", "--json", "-s", s.sock+".2")
	if second.code != 0 {
		t.Fatalf("the new arbiter cannot be reached: %+v", second)
	}
	if r := runGofork(t, s.id, s.dir, "reload", "-s", s.sock+".2"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	kill(t, mustLookup(t, s.parseStatus(second.stdout).PID), syscall.SIGTERM)
	s.await("upgrade.failed")
	// With NotifyAccess=all systemd would take its STOPPING=1 for the service's.
	for _, m := range u.all("") {
		if m.pid != s.pid() {
			t.Errorf("pid %d told systemd %q, which is not the main process", m.pid, m.text)
		}
	}
}

func TestSystemdIsToldWhyItDidNotStart(t *testing.T) {
	t.Parallel()
	u := newSupervisor(t)
	s := u.asUnit("[worker]\ncommand = [\"@TEST\", \"exit\", \"4\"]\ncount = 1\nready = \"notify\"\n", 0)
	if code := s.exit(patience); code != 4 {
		t.Errorf("exit code %d, want 4", code)
	}
	u.await(1, "STOPPING=1\nSTATUS=app failed to load")
	if n := len(u.all("READY=1")); n > 0 {
		t.Error("it was ready")
	}
}

func TestSystemdFollowsAHotUpgrade(t *testing.T) {
	t.Parallel()
	const watchdog = 2 * time.Second
	u := newSupervisor(t)
	admin := freeAddr(t)
	s := u.asUnit(twoHello+serverTable+"[admin]\nbind = \""+admin+"\"\n", watchdog)
	s.ready()
	u.await(1, "READY=1")
	s.must("upgrade")
	var child control.Status
	res := runGofork(t, s.id, s.dir, "status", "--json", "-s", s.sock+".2")
	if res.code != 0 {
		t.Fatalf("the new arbiter cannot be reached: %+v", res)
	}
	child = s.parseStatus(res.stdout)
	if a := getAdmin(admin, "/v1/status"); s.parseStatus(a.body).PID != s.pid() {
		t.Errorf("the admin address is answered by pid %d, want the old arbiter", s.parseStatus(a.body).PID)
	}
	for _, m := range u.all("WATCHDOG=1") {
		if m.pid != s.pid() {
			t.Errorf("a heartbeat of pid %d beside the main process", m.pid)
		}
	}

	extended := len(u.all("EXTEND_TIMEOUT_USEC="))
	s.signal(syscall.SIGTERM)
	if code := s.exit(patience); code != 0 {
		t.Errorf("exit code %d", code)
	}
	main := u.await(1, "MAINPID="+strconv.Itoa(child.PID))
	if main.pid != s.pid() {
		t.Errorf("pid %d named the new main process first, want the old one", main.pid)
	}
	if len(u.all("STOPPING=1")) > 0 || len(u.all("EXTEND_TIMEOUT_USEC=")) > extended {
		t.Error("systemd was told that the service stops, while it goes on")
	}
	eventually(t, "the new arbiter sends heartbeats", func() bool {
		return slices.ContainsFunc(u.all("WATCHDOG=1"), func(m telling) bool { return m.pid == child.PID })
	})
	eventually(t, "the new arbiter has the admin address", func() bool {
		a := getAdmin(admin, "/v1/status")
		return a.code == 200 && s.parseStatus(a.body).PID == child.PID
	})
	kill(t, mustLookup(t, child.PID), syscall.SIGTERM)
	u.await(1, "STOPPING=1")
	eventually(t, fmt.Sprintf("pid %d has ended", child.PID), func() bool { _, alive := lookup(child.PID); return !alive })
}
