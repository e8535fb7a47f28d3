//go:build linux

package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// loadEnv makes the load test last as long as it has to prove what it says;
// without it, it does the same in a hurry.
const loadEnv = "E2E_LOAD" // "full"

// under is what a server goes through while it is loaded.
type under struct {
	*server
	arbiter process // that is in charge
	what    atomic.Value
}

func (u *under) phase() string { return u.what.Load().(string) }

func (u *under) enter(format string, args ...any) { u.what.Store(fmt.Sprintf(format, args...)) }

// reload asks the arbiter in charge and says whether it has succeeded; an answer
// other than 200 tells why not.
func (u *under) reload() (ok bool, why string) {
	u.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://gofork/v1/reload", http.NoBody)
	if err != nil {
		u.t.Fatal(err)
	}
	transport := &http.Transport{DialContext: dialer("unix", u.sock), DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		u.t.Fatalf("cannot ask for a reload: %v", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		u.t.Fatalf("cannot read the reload's result: %v", err)
	}
	return res.StatusCode == http.StatusOK, string(answer)
}

// spoilt makes the configuration wrong, asks for a reload and mends it again.
func (u *under) spoilt(what, old, replacement string) {
	u.t.Helper()
	good := readFile(u.t, u.file)
	u.enter("a reload with %s", what)
	u.edit(old, replacement)
	if ok, _ := u.reload(); ok {
		u.t.Errorf("a reload with %s has succeeded", what)
	}
	writeFile(u.t, u.file, good)
}

// scale sends SIGTTIN or SIGTTOU and waits until so many workers serve alone.
func (u *under) scale(sig syscall.Signal, count int) {
	u.t.Helper()
	u.enter("a scaling to %d", count)
	kill(u.t, u.arbiter, sig)
	eventually(u.t, "the workers are scaled", func() bool {
		st, err := statusAt(u.sock)
		return err == nil && st.Workers.Configured == count && st.Workers.Ready == count
	})
}

// upgrade replaces the arbiter: the old one is stopped when the new one serves.
func (u *under) upgrade() {
	u.t.Helper()
	u.enter("an upgrade: the new arbiter boots")
	m := u.mark()
	kill(u.t, u.arbiter, syscall.SIGUSR2)
	n := u.awaitSibling(m)
	u.enter("an upgrade: the old arbiter stops")
	kill(u.t, u.arbiter, syscall.SIGTERM)
	u.awaitSince(m, "upgrade.promoted")
	awaitEnd(u.t, patience, u.arbiter)
	u.arbiter, n.sock = n.process, u.sock
	n.awaitStatus("the new arbiter has taken over", func(st control.Status) bool { return st.PID == n.PID && st.State == "running" })
}

func TestNoRequestFailsWhateverIsDoneGracefully(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // after the subtests
	node, err := filepath.Abs(filepath.Join("testdata", "node", "server.js"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, worker string
		needs        string    // a program
		bootFailure  [2]string // old and new text of the configuration
	}{
		{
			name: "handler",
			worker: `handler = "hello"
drain_delay = "400ms"
max_requests = 120
max_requests_jitter = 40`,
			bootFailure: [2]string{"[worker]", "[worker]\nrlimits = { nofile = 4 }"},
		},
		{
			name: "node",
			worker: fmt.Sprintf(`command = ["node", %q]
ready = "notify"
max_lifetime = "600ms"
max_lifetime_jitter = "200ms"
env = { DRAIN_MS = "400", NOTIFY = %q }`, node, binary(t)),
			needs:       "node",
			bootFailure: [2]string{`["node", "`, `["node", "/no/such`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := exec.LookPath(tt.needs); tt.needs != "" && err != nil {
				skip(t, tt.needs+" is not installed")
			}
			atLeast, recyclings := 8*time.Second, 8
			if os.Getenv(loadEnv) == "full" {
				atLeast, recyclings = 20*time.Second, 20
			}
			s := start(t, "[log]\nlevel = \"info\"\n[worker]\ncount = 2\n"+tt.worker)
			s.ready()
			u := &under{server: s, arbiter: mustLookup(t, s.pid())}
			u.enter("nothing in particular")

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			l := &load{addr: s.addr, phase: u.phase}
			began, done := time.Now(), make(chan struct{})
			go func() { defer close(done); l.run(ctx) }()

			steps := []func(){
				u.good,
				func() { u.scale(syscall.SIGTTIN, 3) },
				func() { u.spoilt("a broken file", "count = 2", "count = two") },
				u.good,
				func() { u.scale(syscall.SIGTTOU, 2) },
				u.upgrade,
				func() { u.spoilt("a worker that does not boot", tt.bootFailure[0], tt.bootFailure[1]) },
				u.good,
				u.good,
				u.upgrade,
				func() { u.spoilt("an address that is taken", "bind = [", fmt.Sprintf("bind = [%q, ", taken.Addr())) },
				u.good,
			}
			recycled := func() int { return len(s.journal.all(is("worker.exited", "reason", "recycled"))) }
			for i, step := range steps {
				step()
				u.enter("step %d is done", i+1)
				// Recycling goes on between the steps, and the steps fill the time.
				next := began.Add(atLeast * time.Duration(i+1) / time.Duration(len(steps)))
				<-time.NewTimer(time.Until(next)).C
			}
			u.enter("recycling alone")
			eventually(t, fmt.Sprintf("%d workers were recycled; so far %d", recyclings, recycled()), func() bool { return recycled() >= recyclings })
			u.enter("the end")
			cancel()
			<-done
			l.report(t, time.Since(began))
			t.Logf("%d workers were recycled", recycled())
			for _, r := range s.journal.all(is("worker.exited", "expected", false)) {
				if !strings.Contains(r.text("reason"), "exited") { // a worker that does not boot was ordered
					t.Errorf("a worker ended that nobody had asked: %v", r)
				}
			}
		})
	}
}

func (u *under) good() {
	u.t.Helper()
	u.enter("a reload")
	if ok, why := u.reload(); !ok {
		u.t.Errorf("a reload has failed: %s", why)
	}
}
