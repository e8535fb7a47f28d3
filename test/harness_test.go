//go:build linux

package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// patience is how long a test waits for what has to come. It is reached only
// when it does not come, so it is generous: under the race detector, on two
// busy processors, a process may need seconds to start.
const patience = 30 * time.Second

// slack is what a test allows above a window that gofork promises.
const slack = 8 * time.Second

// server is one `gofork serve` that a test started.
type server struct {
	t    testing.TB
	id   string // value of markEnv in everything it starts
	dir  string // everything it writes is below
	file string // the configuration file
	addr string // HOST:PORT that @ADDR stood for
	sock string // control socket

	cmd     *exec.Cmd
	journal *journal
	exited  chan struct{} // closed when gofork has ended and was reaped

	mu    sync.Mutex
	known []process // what the log said was started
}

// setup is how a test's gofork differs from the ordinary.
type setup struct {
	env     []string
	args    []string
	dir     string
	wrapper []string
	foreign bool
	user    *syscall.Credential
	files   []*os.File
	written map[string]string // below the server's directory
}

type option func(*setup)

// withEnv adds variables to gofork's environment.
func withEnv(kv ...string) option { return func(s *setup) { s.env = append(s.env, kv...) } }

// withArgs adds arguments to gofork serve.
func withArgs(args ...string) option { return func(s *setup) { s.args = append(s.args, args...) } }

// withDir starts gofork in dir.
func withDir(dir string) option { return func(s *setup) { s.dir = dir } }

// asUser starts gofork as another user, without groups.
func asUser(uid uint32) option {
	return func(s *setup) { s.user = &syscall.Credential{Uid: uid, Gid: uid} }
}

// withFiles passes descriptors on, from 3.
func withFiles(files ...*os.File) option { return func(s *setup) { s.files = files } }

// withFile writes a file below the server's directory before it starts.
func withFile(name, content string) option {
	return func(s *setup) {
		if s.written == nil {
			s.written = map[string]string{}
		}
		s.written[name] = content
	}
}

// withWrapper starts gofork by a program that becomes it.
func withWrapper(argv ...string) option { return func(s *setup) { s.wrapper = argv } }

// inNamespace starts gofork by a program that gives it a pid namespace: the
// pids it speaks of are none of ours.
func inNamespace(wrapper ...string) option {
	return func(s *setup) { s.wrapper, s.foreign = wrapper, true }
}

// start runs gofork serve with a configuration in which @DIR is a directory of
// this server's own, @ADDR a free address and @TEST the test binary. A missing
// server.bind, server.runtime_dir and log level are added.
func start(t testing.TB, config string, options ...option) *server {
	t.Helper()
	var set setup
	for _, o := range options {
		o(&set)
	}
	s := &server{
		t: t, id: rand.Text(), addr: freeAddr(t),
		journal: newJournal(), exited: make(chan struct{}),
	}
	s.dir = shortTempDir(t)
	s.file = filepath.Join(s.dir, "app.toml")
	s.sock = filepath.Join(s.dir, "run", "app.sock")
	writeFile(t, s.file, s.complete(config))
	for name, content := range set.written {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, content)
	}

	argv := slices.Concat(set.wrapper, []string{binary(t), "serve", "-c", s.file}, set.args)
	s.cmd = exec.Command(argv[0], argv[1:]...)
	s.cmd.Dir = s.dir
	if set.dir != "" {
		s.cmd.Dir = set.dir
	}
	s.cmd.Env = append(cleanEnv(), markEnv+"="+s.id)
	s.cmd.Env = append(s.cmd.Env, set.env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: set.user} // no ^C of a terminal reaches it

	s.cmd.ExtraFiles = set.files

	// Pipes of our own instead of StdoutPipe: children inherit them, and Wait
	// must answer for gofork alone.
	seen := s.remember
	if set.foreign {
		seen = nil
	}
	stdout, stderr := s.pipe(seen), s.pipe(seen)
	s.cmd.Stdout, s.cmd.Stderr = stdout, stderr
	err := s.cmd.Start()
	stdout.Close()
	stderr.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		// How it ended is read from ProcessState.
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	t.Cleanup(s.finish)
	return s
}

// pipe returns the write end of a pipe that the journal reads.
func (s *server) pipe(seen func(record)) *os.File {
	s.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.journal.follow(r, seen)
	return w
}

// complete fills in what every test's configuration has.
func (s *server) complete(config string) string {
	config = strings.NewReplacer("@DIR", s.dir, "@ADDR", s.addr, "@TEST", testBinary(s.t)).Replace(config)
	lacks := func(key string) bool {
		for line := range strings.Lines(config) {
			if strings.HasPrefix(strings.TrimSpace(line), key) {
				return false
			}
		}
		return true
	}
	if lacks("[server]") {
		config += "\n[server]\n"
	}
	head := "[server]\n"
	if lacks("runtime_dir") {
		head += fmt.Sprintf("runtime_dir = %q\n", filepath.Join(s.dir, "run"))
	}
	if lacks("bind") && !lacks("[worker]") {
		head += fmt.Sprintf("bind = [%q]\n", s.addr)
	}
	config = strings.Replace(config, "[server]\n", head, 1)
	if lacks("[log]") {
		config += "\n[log]\nlevel = \"debug\"\n"
	}
	return config
}

// remember notes a process that the log says was started, so that the end of
// the test can tell whether it was reaped.
func (s *server) remember(r record) {
	if !strings.HasSuffix(r.Event, ".started") || r.pid() == 0 {
		return
	}
	if p, ok := lookup(r.pid()); ok {
		s.mu.Lock()
		s.known = append(s.known, p)
		s.mu.Unlock()
	}
}

// finish ends gofork if the test has not, and checks the three rules of the
// package comment.
func (s *server) finish() {
	t := s.t
	killed := false
	select {
	case <-s.exited:
		ws, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
		killed = ok && ws.Signaled()
	default:
		if t.Failed() {
			killed = true
			s.killAll()
			break
		}
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("cannot stop gofork: %v", err)
		}
		deadline := time.NewTimer(patience)
		defer deadline.Stop()
		select {
		case <-s.exited:
			if code := s.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("gofork ended with %s after SIGTERM, want exit code 0", s.cmd.ProcessState)
			}
		case <-deadline.C:
			t.Errorf("gofork still runs %s after SIGTERM", patience)
			killed = true
			s.killAll()
		}
	}
	for _, p := range marked(s.id) {
		if !killed {
			t.Errorf("%v was left running", p)
		}
	}
	s.killAll()
	s.journal.finish()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.known {
		if !killed && p.exists() {
			t.Errorf("%v was not reaped before gofork ended", p)
		}
	}
	for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
		if s.journal.printed(bad) {
			t.Errorf("gofork or a child printed %q", bad)
		}
	}
	if t.Failed() {
		t.Logf("what gofork wrote:\n%s", s.journal)
	}
}

// killAll ends everything that carries the test's mark, until nothing does.
func (s *server) killAll() {
	for {
		left := marked(s.id)
		if len(left) == 0 {
			return
		}
		for _, p := range left {
			// ESRCH: it ended meanwhile.
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
}

// pid is the arbiter's.
func (s *server) pid() int { return s.cmd.Process.Pid }

// signal sends a signal to the arbiter.
func (s *server) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("cannot send %v to gofork: %v", sig, err)
	}
}

// mark is the present end of the log.
func (s *server) mark() mark { return s.journal.mark() }

// await returns the first record of an event with these fields.
func (s *server) await(event string, fields ...any) record {
	s.t.Helper()
	return s.awaitSince(0, event, fields...)
}

// awaitSince is await for records after a mark.
func (s *server) awaitSince(from mark, event string, fields ...any) record {
	s.t.Helper()
	return s.journal.await(s.t, from, is(event, fields...), fmt.Sprint(append([]any{event}, fields...)...))
}

// ready waits until the first generation and every companion that starts by
// itself are up.
func (s *server) ready() control.Status {
	s.t.Helper()
	s.await("server.ready")
	return s.awaitStatus("everything is up", func(st control.Status) bool {
		return st.State == "running" && st.Workers.Ready == st.Workers.Configured && companionsUp(st)
	})
}

// companionsUp reports whether there are none, or a manager that runs them.
func companionsUp(st control.Status) bool {
	return st.Manager == nil || st.Manager.State == control.ManagerRunning && len(st.Companions) > 0 && allRunning(st)
}

func allRunning(st control.Status) bool {
	return !slices.ContainsFunc(st.Companions, func(c control.Companion) bool {
		return c.Desired == control.Up && c.State != control.Running
	})
}

// exit waits for gofork's end and returns its exit code, 128+n for a signal.
func (s *server) exit(within time.Duration) int {
	s.t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	select {
	case <-s.exited:
	case <-deadline.C:
		s.t.Fatalf("gofork still runs after %s", within)
	}
	s.journal.settle(300 * time.Millisecond)
	ws, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.cmd.ProcessState.ExitCode()
}

// stop stops gofork gracefully and expects exit code 0.
func (s *server) stop(within time.Duration) {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	s.ends(within)
}

// ends waits for gofork's end and expects exit code 0.
func (s *server) ends(within time.Duration) {
	s.t.Helper()
	if code := s.exit(within); code != 0 {
		s.t.Errorf("gofork ended with exit code %d, want 0", code)
	}
}

// result is what a command of the client did.
type result struct {
	code           int
	stdout, stderr string
}

// run runs a client command against this server's socket.
func (s *server) run(args ...string) result {
	s.t.Helper()
	return runGofork(s.t, s.id, s.dir, append(args, "-s", s.sock)...)
}

// must is run for a command that has to succeed; it returns standard output.
func (s *server) must(args ...string) string {
	s.t.Helper()
	res := s.run(args...)
	if res.code != 0 {
		s.t.Fatalf("gofork %s: exit code %d\n%s%s", strings.Join(args, " "), res.code, res.stdout, res.stderr)
	}
	return res.stdout
}

func runGofork(t testing.TB, id, dir string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), args...)
	cmd.Dir = dir
	cmd.Env = append(cleanEnv(), markEnv+"="+id)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("cannot run gofork %s: %v", strings.Join(args, " "), err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// status is `gofork status --json`.
func (s *server) status() control.Status {
	s.t.Helper()
	return s.parseStatus(s.must("status", "--json"))
}

func (s *server) parseStatus(out string) control.Status {
	s.t.Helper()
	var st control.Status
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		s.t.Fatalf("cannot read status: %v\n%s", err, out)
	}
	return st
}

// look is the status without a process for each look.
func (s *server) look() control.Status {
	s.t.Helper()
	st, err := statusAt(s.sock)
	if err != nil {
		s.t.Fatalf("cannot read status: %v", err)
	}
	return st
}

// statusAt asks the gofork behind a control socket.
func statusAt(socket string) (st control.Status, err error) {
	a := getUnix(socket, "/v1/status")
	if a.err != nil {
		return st, a.err
	}
	if a.code != http.StatusOK {
		return st, fmt.Errorf("status %d: %s", a.code, a.body)
	}
	return st, json.Unmarshal([]byte(a.body), &st)
}

// awaitStatus asks for the status, and again whenever gofork has logged
// something, until it is as wanted. A gofork that cannot be reached yet is not.
func (s *server) awaitStatus(what string, wanted func(control.Status) bool) control.Status {
	s.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(250 * time.Millisecond) // not everything in the status is logged
	defer again.Stop()
	for {
		logged := s.journal.next()
		st, err := statusAt(s.sock)
		if err == nil && wanted(st) {
			return st
		}
		select {
		case <-logged:
		case <-again.C:
		case <-s.exited:
			s.t.Fatalf("gofork ended before %s", what)
		case <-deadline.C:
			s.t.Fatalf("not within %s: %s; the last answer is\n%+v, error %v", patience, what, st, err)
		}
	}
}

// companion returns the status of an instance by its ID, such as "queue:2".
func companion(t testing.TB, st control.Status, id string) control.Companion {
	t.Helper()
	for _, c := range st.Companions {
		if c.ID() == id {
			return c
		}
	}
	t.Fatalf("status has no companion %s: %+v", id, st.Companions)
	return control.Companion{}
}

// awaitCompanion waits for a companion's state.
func (s *server) awaitCompanion(id, state string) control.Companion {
	s.t.Helper()
	st := s.awaitStatus(id+" is "+state, func(st control.Status) bool {
		return slices.ContainsFunc(st.Companions, func(c control.Companion) bool {
			return c.ID() == id && c.State == state
		})
	})
	return companion(s.t, st, id)
}

// workerPIDs returns the pids of the workers, by slot.
func workerPIDs(st control.Status) []int {
	var pids []int
	for _, w := range st.Workers.List {
		pids = append(pids, w.PID)
	}
	return pids
}

// everything returns every live process of this server, the arbiter included.
func (s *server) everything() []process { return marked(s.id) }

// cleanEnv is this process's environment without what gofork would read.
func cleanEnv() []string {
	// A process with the race detector would sleep for a second at its end.
	return append(slices.DeleteFunc(os.Environ(), func(kv string) bool {
		key, _, _ := strings.Cut(kv, "=")
		switch key {
		case "PORT", "WEB_CONCURRENCY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "XDG_RUNTIME_DIR", markEnv:
			return true
		}
		return strings.HasPrefix(key, "GOFORK_") || strings.HasPrefix(key, "LISTEN_")
	}), "GORACE=atexit_sleep_ms=0")
}

func testBinary(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// shortTempDir is t.TempDir with a name that leaves room for the path of a unix
// socket, which has 107 bytes.
func shortTempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	// A gofork of another user reads its configuration here.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// ports hands out ports below the ephemeral range (32768 and up, see ip(7)), so
// that no outgoing connection and no listener on port 0 can take one between
// the test's look and gofork's bind. Test processes start at different places.
var ports atomic.Int32

func freeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := 20000 + (os.Getpid()*37+int(ports.Add(1)))%12000
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// tryRead is readFile for a file that may not be there yet.
func tryRead(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}
