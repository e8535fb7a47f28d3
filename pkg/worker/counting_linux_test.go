package worker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/tally"
)

func newTally(t testing.TB) (*tally.Page, int) {
	t.Helper()
	page, fd, err := tally.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return page, fd // not unmapped: a handler may still count
}

// awaitCounts reads the page until it is as wanted: an answer is out before it is
// counted.
func awaitCounts(t *testing.T, page *tally.Page, what string, wanted func(tally.Counts) bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !wanted(page.Read()) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s: %+v", what, page.Read())
		}
		<-time.After(time.Millisecond)
	}
}

func TestRequestsAreCountedByTheirAnswer(t *testing.T) {
	page, _ := newTally(t)
	held, release := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/nothing", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/status/404", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) })
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("oh") })
	mux.HandleFunc("/half", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "half")
		http.NewResponseController(w).Flush()
		panic("oh")
	})
	mux.HandleFunc("/hold", func(http.ResponseWriter, *http.Request) { close(held); <-release })
	mux.HandleFunc("/switch", func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			c.Close()
		}
	})
	l := listen(t)
	startWorker(t, testSpec(), serveHandler(mux), Options{Tally: page}, l)
	for _, path := range []string{"/nothing", "/nothing", "/status/404", "/panic", "/half", "/switch"} {
		resp, err := httpClient(t).Get("http://" + l.Addr().String() + path)
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	awaitCounts(t, page, "all counted", func(c tally.Counts) bool {
		return c.Answered == [tally.Classes]uint64{1, 1, 2, 0, 1, 1} && c.Begun == 6
	})
	go func() {
		if resp, err := httpClient(t).Get("http://" + l.Addr().String() + "/hold"); err == nil {
			resp.Body.Close()
		}
	}()
	<-held
	c := page.Read()
	if n := c.InFlight(); n != 1 {
		t.Errorf("%d in flight, want 1", n)
	}
	close(release)
	awaitCounts(t, page, "answered", func(c tally.Counts) bool { return c.InFlight() == 0 && c.Answered[2] == 3 })
}

func TestProcessCountsInTheInheritedPageUntilItIsKilled(t *testing.T) {
	page, fd := newTally(t)
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(dup), "page")
	defer file.Close()
	c := spawn(t, testSpec(), func(cmd *exec.Cmd) {
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
		cmd.Env = append(cmd.Env, envTally+"=4")
	})
	c.await(t, "READY=1")
	resp, err := httpClient(t).Get("http://" + c.addr + "/pid")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /sleep?d=60s HTTP/1.1\r\nHost: x\r\n\r\n")
	awaitCounts(t, page, "in flight", func(c tally.Counts) bool { return c.Begun == 2 && c.Answered[2] == 1 })
	c.cmd.Process.Signal(syscall.SIGKILL)
	c.end(t)
	if _, err := bufio.NewReader(conn).ReadByte(); err == nil {
		t.Error("an answer from the dead")
	}
	counts := page.Read()
	if n := counts.InFlight(); n != 1 {
		t.Errorf("%d in flight at the death, want 1", n)
	}
}

func TestPageThatCannotBeOpenedStopsNobody(t *testing.T) {
	for _, fd := range []string{"x", "-1", "2", "999"} {
		c := spawn(t, testSpec(), func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, envTally+"="+fd) })
		c.await(t, "READY=1")
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	page, _ := newTally(t)
	s := &site{tally: page}
	rec := &recorder{status: 200}
	if n := testing.AllocsPerRun(100, func() {
		s.tally.Begin()
		defer s.counted(rec, time.Now())
	}); n > 0 {
		t.Errorf("%v allocations a request", n)
	}
}
