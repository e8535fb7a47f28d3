//go:build linux

package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// app is a server that knows nothing of gofork, and the file of configs/ that
// runs it. docs/languages.md says the same in words.
type app struct {
	file  string
	needs []string // programs, or files by their whole path
	conf  string   // the server's own file, if it names the address too

	spoilt   [2]string // in the file: what makes the application one that does not load
	notifies bool      // sends READY=1, so that such a one is never ready
	beats    bool      // sends a heartbeat
	sleeps   bool      // has /sleep
	echoes   bool      // has /echo
	crosses  bool      // closes connections that look idle, so a request on its way to one is lost
}

// What Debian's packages bring. The interpreter must be the system's, too:
// another one that stands before it in PATH does not have these modules.
const (
	systemPath  = "/usr/bin:/bin:/usr/sbin:/sbin"
	nodeModules = "/usr/share/nodejs"
	uvicorn     = "/usr/lib/python3/dist-packages/uvicorn/server.py"
	gunicorn    = "/usr/bin/gunicorn"
	sdNotify    = "/usr/share/rubygems-integration/all/specifications/sd_notify-0.1.1.gemspec"
)

var apps = map[string]app{
	"node":          {file: "node.toml", needs: []string{"node"}, sleeps: true},
	"express":       {needs: []string{"node", nodeModules + "/express"}, spoilt: [2]string{"server.js", "none.js"}, notifies: true, sleeps: true, echoes: true},
	"uvicorn":       {needs: []string{uvicorn}, sleeps: true, echoes: true, crosses: true},
	"uvicorn-drain": {needs: []string{uvicorn}, spoilt: [2]string{"serve.py", "none.py"}, notifies: true, sleeps: true, echoes: true, beats: true},
	"gunicorn":      {needs: []string{gunicorn}, spoilt: [2]string{"app:app", "app:none"}, notifies: true, sleeps: true, echoes: true},
	"puma":          {needs: []string{"puma", sdNotify}, spoilt: [2]string{"config.ru", "none.ru"}, notifies: true, sleeps: true, echoes: true, beats: true},
	"nginx":         {needs: []string{"/usr/sbin/nginx"}, conf: "configs/apps/nginx/nginx.conf"},
	"lighttpd":      {needs: []string{"/usr/sbin/lighttpd"}, conf: "configs/apps/lighttpd/lighttpd.conf", sleeps: true, echoes: true},
	"go":            {spoilt: [2]string{"/goactivation", "/none"}, notifies: true, sleeps: true, echoes: true, beats: true},
}

// appServer is a gofork that runs a server's file.
type appServer struct {
	*server
	appDir string // stands for /tmp in the file
}

// aPID is the first number of an answer of /pid, whatever else it says.
var aPID = regexp.MustCompile(`\d+`)

func TestServersRunUnchanged(t *testing.T) {
	t.Parallel()
	for name, a := range apps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startApp(t, name, a)
			st := s.ready()
			s.answeredBy(st)

			s.reloadUnderLoad(a)
			s.crash()
			if a.beats {
				s.freeze()
			}
			s.stopWithOneInFlight(a)
		})
	}
}

// startApp runs a server's file as it is, but for the address and the paths of
// what was built for this test.
func startApp(t *testing.T, name string, a app) appServer {
	t.Helper()
	need(t, a.needs...)
	file := a.file
	if file == "" {
		file = filepath.Join("apps", name+".toml")
	}
	addr, dir := freeAddr(t), shortTempDir(t)
	local := strings.NewReplacer("127.0.0.1:8000", addr, "port = 8000", "port = "+addr[strings.LastIndex(addr, ":")+1:], "/tmp/", dir+"/")
	config := local.Replace(readFile(t, filepath.Join("..", "configs", file)))
	if a.conf != "" {
		own := filepath.Join(dir, filepath.Base(a.conf))
		writeFile(t, own, local.Replace(readFile(t, filepath.Join("..", a.conf))))
		if err := os.Mkdir(filepath.Join(dir, "gofork-nginx"), 0o755); err != nil {
			t.Fatal(err)
		}
		config = strings.ReplaceAll(config, a.conf, own)
	}
	if name == "go" {
		config = strings.ReplaceAll(config, "bin/goactivation", built(t, "test/apps/goactivation"))
	}
	if a.crosses { // and now and then does not end: what is still kept open is killed
		config = strings.ReplaceAll(config, `graceful_timeout = "20s"`, `graceful_timeout = "5s"`)
	}
	s := start(t, config, withDir(repository(t)),
		withEnv("PATH="+systemPath+":"+filepath.Dir(binary(t))+":"+os.Getenv("PATH"), "NODE_PATH="+nodeModules, "PYTHONDONTWRITEBYTECODE=1"))
	s.addr = addr // the file says it, not start
	started := appServer{s, dir}
	t.Cleanup(started.abandon) // before the harness looks for what is left
	return started
}

// family is every process below gofork. Many servers write a title over their
// environment, so the harness, which looks for its mark there, does not see them.
func (s *server) family() []process {
	var all []process
	next := []int{s.pid()}
	for len(next) > 0 {
		children := childrenOf(next[0])
		next = next[1:]
		for _, p := range children {
			all, next = append(all, p), append(next, p.PID)
		}
	}
	return all
}

// stopAll is stop that also looks for those whom the harness does not see.
func (s *server) stopAll() {
	s.t.Helper()
	family := s.family()
	s.stop(patience)
	noneLeft(s.t, family)
}

func noneLeft(t testing.TB, family []process) {
	t.Helper()
	for _, p := range family {
		if p.alive() {
			t.Errorf("%v was left running", p)
		}
	}
}

// abandon ends what a failed test has left.
func (s *server) abandon() {
	select {
	case <-s.exited:
		return
	default:
	}
	if !s.t.Failed() {
		return
	}
	family := s.family()
	s.killAll() // gofork first: it would start others
	for _, p := range family {
		if p.alive() {
			// ESRCH: it ended meanwhile.
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
}

// need skips the test when a program or a file is not there.
func need(t testing.TB, all ...string) {
	t.Helper()
	for _, it := range all {
		_, err := os.Stat(it)
		if !filepath.IsAbs(it) {
			_, err = exec.LookPath(it)
		}
		if err != nil {
			skip(t, "there is no "+it+" (.ci/run says which package has it)")
		}
	}
}

// built builds a program of this module.
func built(t testing.TB, pkg string) string {
	t.Helper()
	path := filepath.Join(shortTempDir(t), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", path, modulePath+"/"+pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// answeredBy asserts that a worker, or a child that a worker has for it, answers.
func (s *server) answeredBy(st control.Status) {
	s.t.Helper()
	body := s.mustGet("/pid")
	pid, err := strconv.Atoi(aPID.FindString(body))
	if err != nil {
		s.t.Fatalf("/pid answered %q, want a pid", body)
	}
	workers := workerPIDs(st)
	if p := mustLookup(s.t, pid); !slices.Contains(workers, pid) && !slices.Contains(workers, p.PPID) {
		s.t.Errorf("%v answered, want one of the workers %v or a child of one", p, workers)
	}
}

// crash kills a worker and expects another one in its place, and nobody of the
// old one's left to take requests.
func (s *server) crash() {
	s.t.Helper()
	old := mustLookup(s.t, s.look().Workers.List[0].PID)
	family := append(childrenOf(old.PID), old)
	m := s.mark()
	kill(s.t, old, syscall.SIGKILL)
	s.awaitSince(m, "worker.exited", "pid", old.PID, "expected", false)
	s.replaced(old.PID)
	awaitEnd(s.t, patience, family...)
}

// freeze stops a worker with a heartbeat and expects that it is missed.
func (s *server) freeze() {
	s.t.Helper()
	from := s.mark()
	s.edit(`timeout = "30s"`, `timeout = "3s"`) // and not sooner: under load a heartbeat may be that late
	s.mustReload()
	// Silence counts from the first heartbeat on, which some send only when half
	// of the limit is over.
	began := s.awaitSince(from, "worker.ready", "slot", 2).At
	eventually(s.t, "the worker has sent its first heartbeat", func() bool { return time.Since(began) > 4*time.Second })
	st := s.ready()
	old := mustLookup(s.t, st.Workers.List[1].PID)
	m := s.mark()
	kill(s.t, old, syscall.SIGSTOP)
	s.awaitSince(m, "worker.timeout", "pid", old.PID)
	s.replaced(old.PID)
}

// replaced waits until all workers are ready, and none of them is old.
func (s *server) replaced(old int) {
	s.t.Helper()
	st := s.awaitStatus("the worker is replaced", func(st control.Status) bool {
		return st.Workers.Ready == st.Workers.Configured && !slices.Contains(workerPIDs(st), old)
	})
	s.answeredBy(st)
}

func (s *server) stopWithOneInFlight(a app) {
	s.t.Helper()
	m := s.mark()
	st := s.look()
	end := func() {}
	if a.sleeps {
		slow := s.begin("/sleep?ms=700")
		defer func() {
			if a := s.awaitAnswer(slow); a.err != nil || a.code != http.StatusOK {
				s.t.Errorf("the request in flight got status %d, error %v; want 200", a.code, a.err)
			}
		}()
	} else {
		end = s.beginInHalves("/pid")
	}
	family := s.family()
	s.signal(syscall.SIGTERM)
	s.awaitSince(m, "worker.draining")
	end()
	if code := s.exit(patience); code != 0 {
		s.t.Errorf("gofork ended with exit code %d, want 0", code)
	}
	noneLeft(s.t, family)
	for _, pid := range workerPIDs(st) {
		r := s.awaitSince(m, "worker.exited", "pid", pid, "expected", true)
		// One that does not say when it is ready may be stopped while it loads.
		if a.notifies && r.text("code") != "0" {
			s.t.Errorf("a worker did not end by itself: %v", r)
		}
	}
}

// beginInHalves sends the first half of a request, for servers that have nothing
// slow to ask for, and returns when it was read; end sends the other half and
// expects the answer.
func (s *server) beginInHalves(path string) (end func()) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: half", path); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "the server has read it", func() bool { return unread(s.t, s.addr, conn.LocalAddr().String()) == 0 })
	return func() {
		s.t.Helper()
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			s.t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "\r\n\r\n"); err != nil {
			s.t.Errorf("the other half of a request: %v", err)
			return
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			s.t.Errorf("a request that was half there when the stop began: %v", err)
			return
		}
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || len(body) == 0 {
			s.t.Errorf("a request that was half there when the stop began got status %d, %q, %v", res.StatusCode, body, err)
		}
	}
}

// unread is what lies in the receive queue of the server's end of a connection, in
// bytes, -1 when there is no such connection (proc(5), /proc/net/tcp).
func unread(t testing.TB, server, client string) int {
	t.Helper()
	hex := func(addr string) string {
		a, err := netip.ParseAddrPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		ip := a.Addr().As4()
		slices.Reverse(ip[:])
		return fmt.Sprintf("%X:%04X", ip[:], a.Port())
	}
	for line := range strings.Lines(readFile(t, "/proc/net/tcp")) {
		f := strings.Fields(line)
		if len(f) < 5 || f[1] != hex(server) || f[2] != hex(client) {
			continue
		}
		_, queue, _ := strings.Cut(f[4], ":")
		n, err := strconv.ParseInt(queue, 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	return -1
}
