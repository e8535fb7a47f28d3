//go:build linux

package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// Between a worker's death and its successor's first accept the kernel takes the
// connections, on a socket that nobody has closed.
func TestConnectionsWaitForTheNextWorker(t *testing.T) {
	t.Parallel()
	for _, reusePort := range []bool{false, true} {
		t.Run(fmt.Sprintf("reuse_port %v", reusePort), func(t *testing.T) {
			t.Parallel()
			s := start(t, serverTable+fmt.Sprintf("reuse_port = %v\n", reusePort)+appWorkers(1))
			pid := workerPIDs(s.ready())[0]
			writeFile(t, s.path("app"), "hang")
			m := s.mark()
			kill(t, mustLookup(t, pid), syscall.SIGKILL)
			hung := s.awaitSince(m, "worker.started")
			eventually(t, "the next worker hangs", func() bool { return s.journal.printed("hanging") })
			waiting := s.begin("/pid")
			writeFile(t, s.path("app"), "good")
			kill(t, mustLookup(t, hung.pid()), syscall.SIGKILL)
			if a := s.awaitAnswer(waiting); a.err != nil || a.code != http.StatusOK || a.body == strconv.Itoa(pid) {
				t.Errorf("the request that waited got %d %q, error %v; want 200 from the next worker", a.code, a.body, a.err)
			}
		})
	}
}

// Once a draining worker has let go of its slot's own socket, nobody may hold it:
// the kernel would go on giving it a share of the connections.
func TestScalingDownClosesTheSlotsSocketAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, `
[server]
bind = ["@ADDR"]
reuse_port = true
[worker]
handler = "hello"
count = 3
`)
	st := s.ready()
	last := workerPIDs(st)[2]
	socket := socketsBySlot(t, st)[3]
	var held []<-chan answer
	for range 24 { // the last slot has some of them
		held = append(held, s.begin("/sleep?d=2500ms"))
	}
	s.signal(syscall.SIGTTOU)
	holds := func(pid int) bool {
		for _, target := range descriptors(t, pid) {
			if target == socket {
				return true
			}
		}
		return false
	}
	eventually(t, "the slot's socket is closed", func() bool { return !holds(s.pid()) && (!mustLookup(t, last).alive() || !holds(last)) })
	if len(s.journal.all(is("worker.exited", "pid", last))) > 0 {
		t.Fatal("too late: the worker has ended, and proves nothing")
	}
	for range 30 {
		s.mustGet("/pid")
	}
	s.awaitAnswers(held...)
}

// Scaling down and recycling let the worker answer what it has.
func TestScalingDownAnswersWhatIsInFlight(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello)
	s.ready()
	var slow []<-chan answer
	for range 8 { // both workers have some
		slow = append(slow, s.begin("/sleep?d=700ms"))
	}
	s.signal(syscall.SIGTTOU)
	s.await("worker.draining", "cause", "scale")
	s.awaitAnswers(slow...)
	s.await("worker.exited", "expected", true, "code", 0)
}

// What a worker was doing when it hung is in its stacks.
func TestAbortedHandlerWorkerPrintsItsStacks(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
handler = "hello"
count = 1
`)
	pid := workerPIDs(s.ready())[0]
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// The server asks for the body when the handler reads it, and not before.
	if _, err := io.WriteString(conn, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, len("HTTP/1.1 100"))); err != nil {
		t.Fatal(err)
	}
	kill(t, mustLookup(t, pid), syscall.SIGABRT)
	s.await("worker.exited", "pid", pid, "signal", "SIGABRT")
	for _, what := range []string{"goroutine ", "ServeHTTP"} {
		eventually(t, fmt.Sprintf("%q in the stacks", what), func() bool { return s.journal.printed(what) })
	}
}

func TestTimeoutRecordsNameTheClock(t *testing.T) {
	t.Parallel()
	for clock, worker := range map[string]string{
		"boot_timeout": `command = ["sleep", "1000"]
ready = "notify"
boot_timeout = "200ms"`,
		"timeout": `command = ["@TEST", "beat-once"]
ready = "notify"
timeout = "200ms"
abort_grace = "50ms"`,
	} {
		t.Run(clock, func(t *testing.T) {
			t.Parallel()
			s := start(t, "[worker]\ncount = 1\n"+worker)
			r := s.await("worker.timeout", "clock", clock)
			if (clock == "timeout") != (r.text("last_beat") != "") {
				t.Errorf("want the time of the last beat for a heartbeat alone, got %v", r)
			}
			exited := s.await("worker.exited")
			if exited.text("reason") != clock {
				t.Errorf("want the reason %s, got %v", clock, exited)
			}
			s.signal(syscall.SIGTERM)
			s.exit(patience)
		})
	}
}

func TestWatchedFilesReload(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
command = ["@TEST", "app", "@DIR/src/app"]
count = 1
ready = "notify"
watch = ["@DIR/src/**/*.py", "@DIR/src/app"]
`, withFile("src/deep/a.py", "1"), withFile("src/b.txt", "1"))
	first := s.ready()
	m := s.mark()
	for range 5 { // an editor's burst is one change
		writeFile(t, s.path("src/deep/a.py"), "2")
	}
	writeFile(t, s.path("src/b.txt"), "2")
	r := s.awaitSince(m, "reload.started")
	if !strings.Contains(r.text("by"), filepath.Join("deep", "a.py")) {
		t.Errorf("want the file that changed, got %v", r)
	}
	s.awaitSince(m, "reload.done")

	m = s.mark()
	writeFile(t, s.path("src/app"), "exit 9")
	s.awaitSince(m, "reload.failed")
	pid := s.mustGet("/pid")
	if pid == strconv.Itoa(workerPIDs(first)[0]) {
		t.Error("the first worker still answers")
	}
	if st := s.look(); st.LastReload == nil || !strings.Contains(st.LastReload.Error, "code 9") {
		t.Errorf("the last reload is %+v, want the reason of the failure", st.LastReload)
	}
	m = s.mark()
	writeFile(t, s.path("src/app"), "good")
	s.awaitSince(m, "reload.done")
	s.awaitStatus("one worker of the last generation is left", func(st control.Status) bool {
		return len(st.Workers.List) == 1 && strconv.Itoa(workerPIDs(st)[0]) != pid
	})
	if n := len(s.journal.all(is("reload.started"))); n != 3 {
		t.Errorf("%d reloads, want 3: one for each burst of changes", n)
	}
}

// A quick stop hurries what a graceful one waits for.
func TestReloadUnderWayDoesNotHoldAStopUp(t *testing.T) {
	t.Parallel()
	s := start(t, appWorkers(2, `boot_timeout = "60s"`))
	s.ready()
	s.hangingReload()
	began := time.Now()
	s.stop(slack)
	if took := time.Since(began); took > slack {
		t.Errorf("the stop took %s", took)
	}
	if n := len(s.journal.all(is("worker.killed"))); n != 0 {
		t.Errorf("%d workers were killed, want none", n)
	}
}
