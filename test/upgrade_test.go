//go:build linux

package test

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// sibling is the younger arbiter that a hot upgrade starts beside a server.
type sibling struct {
	process
	s    *server
	sock string
}

// upgrade sends SIGUSR2 and returns the new arbiter when it serves. It ends with
// the test at the latest.
func (s *server) upgrade() *sibling {
	s.t.Helper()
	m := s.mark()
	s.signal(syscall.SIGUSR2)
	return s.awaitSibling(m)
}

func (s *server) awaitSibling(m mark) *sibling {
	s.t.Helper()
	r := s.journal.await(s.t, m, func(r record) bool {
		return r.Event == "upgrade.failed" || r.Event == "upgrade.started" && r.text("child") != ""
	}, "that the new arbiter serves")
	pid, err := strconv.Atoi(r.text("child"))
	if err != nil {
		s.t.Fatalf("the upgrade failed: %v", r)
	}
	n := &sibling{process: mustLookup(s.t, pid), s: s, sock: s.sock + ".2"}
	s.t.Cleanup(func() {
		if n.alive() {
			n.end()
		}
	})
	return n
}

// end stops the new arbiter gracefully and waits until it has gone.
func (n *sibling) end() {
	n.s.t.Helper()
	kill(n.s.t, n.process, syscall.SIGTERM)
	awaitEnd(n.s.t, patience, n.process)
}

// promoted waits until the new arbiter has taken the old one's names over.
func (n *sibling) promoted() control.Status {
	n.s.t.Helper()
	n.s.await("upgrade.promoted")
	n.sock = n.s.sock
	return n.awaitStatus("the new arbiter answers at the old one's socket", func(st control.Status) bool { return st.PID == n.PID })
}

// awaitStatus is as the server's.
func (n *sibling) awaitStatus(what string, wanted func(control.Status) bool) (st control.Status) {
	n.s.t.Helper()
	eventually(n.s.t, what, func() bool {
		var err error
		st, err = statusAt(n.sock)
		return err == nil && wanted(st)
	})
	return st
}

func (n *sibling) look() control.Status {
	n.s.t.Helper()
	return n.awaitStatus("the new arbiter answers", func(control.Status) bool { return true })
}

// neverTwice checks the journal of a companion of the role exclusive.
func (s *server) neverTwice(file string) {
	s.t.Helper()
	got := tryRead(s.path(file))
	if strings.Contains(got, "second") {
		s.t.Errorf("two of one instance lived at the same time:\n%s", got)
	}
}

const upgradable = `
[server]
bind = ["@ADDR", "unix:@DIR/web.sock"]
pidfile = "@DIR/app.pid"
[worker]
command = ["@TEST", "http"]
count = 2
ready = "notify"
[companion.alone]
command = ["@TEST", "exclusive", "@DIR/alone"]
startsecs = "0s"
`

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *server) pidIn(name string) int {
	n, err := strconv.Atoi(strings.TrimSpace(tryRead(s.path(name))))
	if err != nil {
		return 0
	}
	return n
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// gone checks that nothing of these is left in the server's directory.
func (s *server) gone(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if there(s.path(name)) {
			s.t.Errorf("%s is still there", name)
		}
	}
}

func TestUpgradeFromSignalToPromotion(t *testing.T) {
	t.Parallel()
	s := start(t, upgradable)
	s.ready()
	s.awaitLines("alone", 1)
	n := s.upgrade()

	if n.PPID != s.pid() {
		t.Errorf("%v is no child of the old arbiter %d", n, s.pid())
	}
	if s.pidIn("app.pid") != s.pid() || s.pidIn("app.pid.2") != n.PID {
		t.Errorf("the pidfiles hold %d and %d, want %d and %d", s.pidIn("app.pid"), s.pidIn("app.pid.2"), s.pid(), n.PID)
	}
	old, young := s.look(), n.look()
	if old.State != "upgrading" || old.PID != s.pid() || young.PID != n.PID || young.Workers.Ready != 2 {
		t.Errorf("the old one is %+v and the new one %+v", old, young)
	}
	if young.Manager != nil {
		t.Errorf("the new arbiter has a manager before it is promoted: %+v", young.Manager)
	}
	answered := map[string]bool{}
	eventually(t, "both arbiters' workers answer", func() bool {
		pid := s.mustGet("/pid")
		answered[pid] = true
		return len(answered) == 4
	})

	s.stop(patience)
	st := n.promoted()
	if s.pidIn("app.pid") != n.PID || there(s.path("app.pid.2")) || there(s.sock+".2") {
		t.Errorf("the pidfile holds %d, want %d; app.pid.2 is there: %v, the socket's .2: %v",
			s.pidIn("app.pid"), n.PID, there(s.path("app.pid.2")), there(s.sock+".2"))
	}
	s.served(s.path("web.sock"), "after the old arbiter's stop")
	s.awaitLines("alone", 3) // start, stop, start
	s.neverTwice("alone")
	if st.State != "running" {
		n.awaitStatus("it runs", func(st control.Status) bool { return st.State == "running" })
	}

	// And once more, from the new one.
	m := s.mark()
	kill(t, n.process, syscall.SIGUSR2)
	third := s.awaitSibling(m)
	n.end()
	third.sock = s.sock
	third.awaitStatus("the third is promoted", func(st control.Status) bool { return st.PID == third.PID })
	third.end()
	s.gone("web.sock", "app.pid", "app.pid.2", "run/app.sock", "run/app.sock.2")
	s.neverTwice("alone")
}

func TestEndingTheNewArbiterBacksTheUpgradeOut(t *testing.T) {
	t.Parallel()
	s := start(t, upgradable)
	before := s.ready()
	s.awaitLines("alone", 1)
	for range 2 { // an upgrade is possible again afterwards
		n := s.upgrade()
		m := s.mark()
		n.end()
		s.awaitSince(m, "upgrade.failed")
		after := s.awaitStatus("the old one goes on alone", func(st control.Status) bool { return st.State == "running" })
		if fmt.Sprint(workerPIDs(after)) != fmt.Sprint(workerPIDs(before)) || companion(t, after, "alone").PID != companion(t, before, "alone").PID {
			t.Errorf("status is %+v, want it as before: %+v", after, before)
		}
		if s.pidIn("app.pid") != s.pid() || there(s.path("app.pid.2")) || there(s.sock+".2") {
			t.Errorf("the pidfile holds %d, want %d and no .2", s.pidIn("app.pid"), s.pid())
		}
		s.served(s.path("web.sock"), "after the new arbiter's stop")
		s.mustGet("/pid")
	}
	if got := tryRead(s.path("alone")); strings.Count(got, "\n") != 1 {
		t.Errorf("the companion was touched:\n%s", got)
	}
}

// A younger arbiter that is killed cannot take its names back.
func TestKilledNewArbiterLeavesNoNames(t *testing.T) {
	t.Parallel()
	s := start(t, upgradable)
	s.ready()
	n := s.upgrade()
	m := s.mark()
	kill(t, n.process, syscall.SIGKILL)
	s.awaitSince(m, "upgrade.failed")
	s.gone("app.pid.2", "run/app.sock.2")
	sockets, err := filepath.Glob(filepath.Join(filepath.Dir(s.sock), "*."+strconv.Itoa(n.PID)+".*"))
	if err != nil || len(sockets) > 0 {
		t.Errorf("left: %v, %v", sockets, err)
	}
	if s.pidIn("app.pid") != s.pid() {
		t.Errorf("the pidfile holds %d, want %d", s.pidIn("app.pid"), s.pid())
	}
	s.ready()
	s.upgrade().end() // and an upgrade is possible again
}

// systemd sends SIGTERM to a whole control group, so to both arbiters. Whichever
// ends last removes what is theirs.
func TestTwoArbitersThatStopTogetherLeaveNothing(t *testing.T) {
	const slow = `
[companion.slow]
command = ["@TEST", "stubborn", "@DIR/slow"]
startsecs = "0s"
stop_timeout = "700ms"
`
	for _, tt := range []struct{ name, old, young string }{
		{"the old one last", upgradable + slow, upgradable + slow},
		{"the new one last", upgradable, strings.Replace(upgradable, `["@TEST", "http"]
count = 2
ready = "notify"`, `["@TEST", "record", "@DIR/deaf"]
count = 1
ready_after = "50ms"`, 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			short := strings.NewReplacer("[server]\n", "[server]\ngraceful_timeout = \"700ms\"\n")
			s := start(t, short.Replace(tt.old))
			s.ready()
			writeFile(t, s.file, s.complete(short.Replace(tt.young)))
			n := s.upgrade()
			kill(t, n.process, syscall.SIGTERM)
			s.signal(syscall.SIGTERM)
			awaitEnd(t, patience, n.process)
			s.ends(patience)
			s.gone("web.sock", "app.pid", "app.pid.2", "run/app.sock", "run/app.sock.2")
		})
	}
}

// A unix socket that one of two arbiters gives up is the other's until it ends.
func TestUnixSocketsOfTwoArbiters(t *testing.T) {
	t.Parallel()
	s := start(t, upgradable)
	s.ready()
	without := strings.Replace(readFile(t, s.file), `, "unix:`+s.path("web.sock")+`"`, "", 1)
	with := readFile(t, s.file)
	n := s.upgrade()
	writeFile(t, s.file, without)
	s.mustReload()
	s.served(s.path("web.sock"), "the old one gave it up")
	n.end()
	s.awaitStatus("the old one is alone", func(st control.Status) bool { return st.State == "running" })
	eventually(t, "nobody has it", func() bool { return !there(s.path("web.sock")) })

	writeFile(t, s.file, with)
	s.mustReload()
	writeFile(t, s.file, without)
	n = s.upgrade()
	s.served(s.path("web.sock"), "the new one does not have it")
	s.signal(syscall.SIGTERM)
	n.promoted()
	s.gone("web.sock")
}

// A new binary or configuration that does not start must not cost anything.
func TestUpgradeThatDoesNotBootLeavesTheOldOneAlone(t *testing.T) {
	t.Parallel()
	s := start(t, appWorkers(1))
	before := s.ready()
	writeFile(t, s.path("app"), "exit 4")
	if res := s.run("upgrade"); res.code != 1 {
		t.Errorf("exit code %d, want 1: %s%s", res.code, res.stdout, res.stderr)
	}
	s.await("upgrade.failed")
	if after := s.look(); after.State != "running" || fmt.Sprint(workerPIDs(after)) != fmt.Sprint(workerPIDs(before)) {
		t.Errorf("status is %+v, want it as before", after)
	}
	s.mustGet("/pid")
}

func TestSecondUpgradeIsRefusedOnBothSides(t *testing.T) {
	t.Parallel()
	s := start(t, upgradable)
	s.ready()
	n := s.upgrade()
	for who, p := range map[string]process{"old": mustLookup(t, s.pid()), "new": n.process} {
		m := s.mark()
		kill(t, p, syscall.SIGUSR2)
		r := s.awaitSince(m, "upgrade.failed")
		if r.Level != "WARN" || r.text("reason") == "" {
			t.Errorf("%s: want a refusal at level warn with its reason, got %v", who, r)
		}
	}
	if res := s.run("upgrade"); res.code != 1 || !strings.Contains(res.stderr, strconv.Itoa(n.PID)) {
		t.Errorf("exit code %d, printed %q; want 1 and the new arbiter's pid", res.code, res.stderr)
	}
	if st := n.look(); st.Workers.Ready != 2 {
		t.Errorf("the new arbiter is %+v", st)
	}
}

func TestPID1RefusesAnUpgrade(t *testing.T) {
	t.Parallel()
	s := asPID1(t, twoHello)
	s.ready()
	kill(t, s.first(), syscall.SIGUSR2)
	r := s.await("upgrade.failed")
	if r.Level != "WARN" || !strings.Contains(r.text("reason"), "PID 1") {
		t.Errorf("want a refusal at level warn that names PID 1, got %v", r)
	}
	s.mustGet("/")
	kill(t, s.first(), syscall.SIGTERM)
	s.exit(patience)
}

// The way of the nginx and gunicorn manuals: USR2, look, WINCH, look, TERM.
func TestUpgradeByWinchAndTerm(t *testing.T) {
	t.Parallel()
	s := start(t, upgradable)
	s.ready()
	s.awaitLines("alone", 1)
	n := s.upgrade()
	s.signal(syscall.SIGWINCH)
	s.awaitStatus("the old one has no workers", func(st control.Status) bool {
		return len(st.Workers.List) == 0 && st.Workers.Configured == 0
	})
	young := map[string]bool{}
	for _, pid := range workerPIDs(n.look()) {
		young[strconv.Itoa(pid)] = true
	}
	for range 10 {
		if pid := s.mustGet("/pid"); !young[pid] {
			t.Errorf("pid %s answered, want one of %v", pid, young)
		}
	}
	s.neverTwice("alone")
	s.stop(patience)
	n.promoted()
	n.awaitStatus("its companion runs", func(st control.Status) bool { return st.Manager != nil && allRunning(st) })
	s.mustGet("/pid")
	s.neverTwice("alone")
}

func TestHangUpAfterWinchBringsEverythingBack(t *testing.T) {
	t.Parallel()
	s := start(t, upgradable)
	before := s.ready()
	s.awaitLines("alone", 1)
	n := s.upgrade()
	s.signal(syscall.SIGWINCH)
	s.awaitStatus("the old one has no workers", func(st control.Status) bool { return len(st.Workers.List) == 0 })
	s.mustReload()
	st := s.awaitStatus("its workers are back", func(st control.Status) bool { return st.Workers.Configured == 2 && st.Workers.Ready == 2 })
	n.end()
	s.await("upgrade.failed")
	eventually(t, "the old one's workers answer alone", func() bool {
		pid := s.mustGet("/pid")
		return pid == strconv.Itoa(workerPIDs(st)[0]) || pid == strconv.Itoa(workerPIDs(st)[1])
	})
	after := s.awaitStatus("it runs", func(st control.Status) bool { return st.State == "running" })
	if companion(t, after, "alone").PID != companion(t, before, "alone").PID {
		t.Error("the companion was touched")
	}
	s.served(s.path("web.sock"), "after the new arbiter's end")
	s.neverTwice("alone")
}

// Nobody gives the names over: the new one takes them when the old one and
// everything of its companions is gone.
func TestNewArbiterTakesOverFromAKilledOne(t *testing.T) {
	t.Parallel()
	s := start(t, upgradable+`
[companion.deaf]
command = ["@TEST", "stubborn", "@DIR/deaf"]
startsecs = "0s"
stop_timeout = "500ms"
`)
	st := s.ready()
	s.awaitLines("alone", 1)
	leader, child := s.awaitPair("deaf")
	n := s.upgrade()
	var workers []process
	for _, pid := range workerPIDs(st) {
		workers = append(workers, mustLookup(t, pid))
	}
	s.signal(syscall.SIGKILL)
	s.exit(patience)
	n.promoted()
	if leader.alive() || child.alive() {
		t.Errorf("%v or %v lives on beside the new arbiter's companions", leader, child)
	}
	awaitEnd(t, patience, workers...)
	n.awaitStatus("the companions run", func(st control.Status) bool { return st.Manager != nil && len(st.Companions) == 2 && allRunning(st) })
	s.awaitLines("alone", 3)
	s.neverTwice("alone")
	s.mustGet("/pid")
	s.served(s.path("web.sock"), "after the promotion")
	if s.pidIn("app.pid") != n.PID {
		t.Errorf("the pidfile holds %d, want %d", s.pidIn("app.pid"), n.PID)
	}
	n.end()
	if left := s.everything(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The sockets of the slots are handed over too, or what waits in their queues
// would be lost with the old arbiter.
func TestUpgradeKeepsTheSocketsOfTheSlots(t *testing.T) {
	t.Parallel()
	s := start(t, serverTable+"reuse_port = true\n"+httpWorkers(3))
	before := socketsBySlot(t, s.ready())
	if len(before) != 3 || before[1] == before[2] || before[2] == before[3] {
		t.Fatalf("the sockets by slot are %v, want three different ones", before)
	}
	n := s.upgrade()
	if now := socketsBySlot(t, n.look()); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("the new arbiter's sockets by slot are %v, want %v", now, before)
	}
	s.stop(patience)
	n.promoted()
	for range 12 {
		s.mustGet("/pid")
	}
}

// socketsBySlot is descriptor 3 of each worker.
func socketsBySlot(t *testing.T, st control.Status) map[int]string {
	t.Helper()
	all := map[int]string{}
	for _, w := range st.Workers.List {
		all[w.Slot] = descriptors(t, w.PID)[3]
	}
	return all
}

// inheritable listens and returns the socket as systemd would pass it; the
// listener itself is closed at the end of the test.
func inheritable(t *testing.T, network, address string) *os.File {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	filer, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		t.Fatalf("%T has no descriptor", l)
	}
	f, err := filer.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); l.Close() })
	return f
}

// activated starts gofork with sockets as systemd passes them: LISTEN_PID is the
// pid of gofork itself.
func activated(names string, files ...*os.File) []option {
	export := fmt.Sprintf(`LISTEN_FDS=%d LISTEN_FDNAMES=%s LISTEN_PID=$$ exec "$@"`, len(files), names)
	return []option{withFiles(files...), withWrapper("sh", "-c", "export LISTEN_FDS LISTEN_FDNAMES LISTEN_PID; "+export, "sh")}
}

func TestSocketsOfSystemdAreServedAndLeftAlone(t *testing.T) {
	t.Parallel()
	dir := shortTempDir(t)
	tcp, unixSocket := inheritable(t, "tcp", "127.0.0.1:0"), inheritable(t, "unix", filepath.Join(dir, "web.sock"))
	s := start(t, upgradable, activated("web:local", tcp, unixSocket)...)
	st := s.ready()
	if len(st.Listeners) != 2 || strings.Contains(strings.Join(st.Listeners, " "), s.addr) {
		t.Errorf("listeners are %q, want systemd's two and none of bind", st.Listeners)
	}
	if there(s.path("web.sock")) {
		t.Error("bind was opened beside systemd's sockets")
	}
	ask := func(when string) {
		t.Helper()
		s.served(filepath.Join(dir, "web.sock"), when)
		if a := fetch(dialer("tcp", strings.TrimPrefix(st.Listeners[0], "tcp://")), "/pid", nil); a.code != http.StatusOK {
			t.Errorf("%s systemd's address answers %d, %v", when, a.code, a.err)
		}
	}
	ask("at first")
	s.mustReload()
	ask("after a reload")
	n := s.upgrade()
	if env := environ(n.PID); env["LISTEN_FDS"] != "2" || env["LISTEN_PID"] != strconv.Itoa(n.PID) || env["GOFORK_FD"] != "" || env["GOFORK_PID"] != strconv.Itoa(s.pid()) {
		t.Errorf("the new arbiter has LISTEN_FDS=%q LISTEN_PID=%q GOFORK_FD=%q GOFORK_PID=%q",
			env["LISTEN_FDS"], env["LISTEN_PID"], env["GOFORK_FD"], env["GOFORK_PID"])
	}
	s.stop(patience)
	n.promoted()
	ask("after the old arbiter's stop")
	n.end()
	if !there(filepath.Join(dir, "web.sock")) {
		t.Error("systemd's unix socket was removed")
	}
}

func TestSocketsOfAnOlderArbiterAreTakenOver(t *testing.T) {
	t.Parallel()
	dir := shortTempDir(t)
	path := filepath.Join(dir, "web.sock")
	handed := inheritable(t, "unix", path)
	parent := exec.Command("sleep", "1000")
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	endParent := func() {
		if !ended {
			ended = true
			_ = parent.Process.Kill()
			_ = parent.Wait()
		}
	}
	t.Cleanup(endParent)

	s := start(t, fmt.Sprintf(`
[server]
bind = ["unix:%s", "@ADDR"]
pidfile = "@DIR/app.pid"
`, path)+httpWorkers(1), withFiles(handed),
		withEnv("GOFORK_FD=3", "GOFORK_FDNAMES="+url.QueryEscape("unix:"+path), fmt.Sprintf("GOFORK_PID=%d", parent.Process.Pid)))
	s.await("server.ready")
	st, err := statusAt(s.sock + ".2")
	if err != nil {
		t.Fatalf("the new arbiter does not answer at SOCKET.2: %v", err)
	}
	if got, want := descriptors(t, workerPIDs(st)[0])[3], socketOf(t, handed); got != want {
		t.Errorf("the worker has %s, want the socket that was handed over, %s", got, want)
	}
	if s.pidIn("app.pid.2") != s.pid() || there(s.path("app.pid")) {
		t.Error("the pidfile is not app.pid.2 while the older arbiter lives")
	}
	s.served(path, "beside the older arbiter")
	s.mustGet("/pid") // of bind, and not handed over
	endParent()
	s.await("upgrade.promoted")
	s.awaitStatus("it runs", func(st control.Status) bool { return st.State == "running" })
	if s.pidIn("app.pid") != s.pid() {
		t.Error("the pidfile was not renamed at the promotion")
	}
	s.stop(patience)
	if there(path) {
		t.Error("the unix socket is still there: the last arbiter owns its path")
	}
}

func socketOf(t *testing.T, f *os.File) string {
	t.Helper()
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var target string
	if err := conn.Control(func(fd uintptr) { target, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)) }); err != nil {
		t.Fatal(err)
	}
	return target
}

func TestStopClosesEveryListener(t *testing.T) {
	t.Parallel()
	for _, reusePort := range []bool{false, true} {
		t.Run(fmt.Sprintf("reuse_port %v", reusePort), func(t *testing.T) {
			t.Parallel()
			s := start(t, fmt.Sprintf(`
[server]
bind = ["@ADDR", "unix:@DIR/web.sock"]
reuse_port = %v
`, reusePort)+httpWorkers(2))
			s.ready()
			held := s.hold()
			m := s.mark()
			s.signal(syscall.SIGTERM)
			s.awaitSince(m, "worker.exited")
			if a := s.awaitAnswer(held); a.err != nil {
				t.Errorf("the request in flight got %v", a.err)
			}
			s.exit(patience)
			for _, dial := range [][2]string{{"tcp", s.addr}, {"unix", s.path("web.sock")}} {
				if c, err := net.Dial(dial[0], dial[1]); err == nil {
					c.Close()
					t.Errorf("somebody still listens at %s", dial[1])
				}
			}
			s.gone("web.sock")
			if l, err := net.Listen("tcp", s.addr); err != nil {
				t.Errorf("the address is not free: %v", err)
			} else {
				l.Close()
			}
		})
	}
}

// With reuse_port a slot's socket outlives its worker.
func TestReusePortKeepsTheSlotsSocket(t *testing.T) {
	t.Parallel()
	s := start(t, serverTable+"reuse_port = true\n"+httpWorkers(2))
	st := s.ready()
	before := socketsBySlot(t, st)
	if before[1] == before[2] {
		t.Errorf("both slots have %s", before[1])
	}
	kill(t, mustLookup(t, workerPIDs(st)[0]), syscall.SIGKILL)
	st = s.awaitStatus("slot 1 is back", func(n control.Status) bool { return n.Workers.Ready == 2 && workerPIDs(n)[0] != workerPIDs(st)[0] })
	if now := socketsBySlot(t, st); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("after a crash the sockets are %v, want %v", now, before)
	}
	s.mustReload()
	st = s.awaitStatus("the old ones are gone", func(n control.Status) bool { return len(n.Workers.List) == 2 })
	if now := socketsBySlot(t, st); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("after a reload the sockets are %v, want %v", now, before)
	}
}
