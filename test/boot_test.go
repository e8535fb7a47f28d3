//go:build linux

package test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// shippedConfig is a file of configs/ with its address replaced.
func shippedConfig(t testing.TB, name string) string {
	t.Helper()
	config := readFile(t, filepath.Join("..", "configs", name))
	if !strings.Contains(config, "127.0.0.1:8000") {
		t.Fatalf("configs/%s does not bind 127.0.0.1:8000 any more", name)
	}
	return strings.ReplaceAll(config, "127.0.0.1:8000", "@ADDR")
}

// repository is the directory above configs/, from where its examples start.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestStarterConfigurationAnswersAndStopsCleanly(t *testing.T) {
	t.Parallel()
	s := start(t, shippedConfig(t, "app.toml"))
	s.await("server.starting")
	s.await("server.listening")
	st := s.ready()

	pid, err := helloPID(s.mustGet("/any/path"))
	if err != nil {
		t.Fatal(err)
	}
	pids := workerPIDs(st)
	if len(pids) != 2 || (pid != pids[0] && pid != pids[1]) {
		t.Errorf("pid %d answered, want one of the workers %v", pid, pids)
	}
	if st.PID != s.pid() || st.Generation != 1 || st.Workers.Configured != 2 {
		t.Errorf("status says pid %d, generation %d, %d workers; want %d, 1, 2", st.PID, st.Generation, st.Workers.Configured, s.pid())
	}
	if got, want := st.Listeners, "tcp://"+s.addr; len(got) != 1 || got[0] != want {
		t.Errorf("listeners are %q, want %q", got, want)
	}
	for _, id := range []string{"ticker", "shell"} {
		c := companion(t, st, id)
		if parent := mustLookup(t, c.PID).PPID; parent != st.Manager.PID {
			t.Errorf("the parent of %s is %d, want the manager %d", id, parent, st.Manager.PID)
		}
	}
	if parent := mustLookup(t, st.Manager.PID).PPID; parent != s.pid() {
		t.Errorf("the manager's parent is %d, want the arbiter %d", parent, s.pid())
	}
	s.stop(patience)
	s.await("server.stopped")
	if a := s.get("/"); a.err == nil {
		t.Errorf("something still answers at %s", s.addr)
	}
}

func TestNodeApplicationAnswersOnThePassedSocket(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("node"); err != nil {
		skip(t, "node is not installed")
	}
	s := start(t, shippedConfig(t, "node.toml"), withDir(repository(t)))
	st := s.ready()

	var from struct{ PID, Slot, Generation int }
	if err := json.Unmarshal([]byte(s.mustGet("/")), &from); err != nil {
		t.Fatal(err)
	}
	if from.Generation != 1 || from.Slot < 1 || from.Slot > 2 || workerPIDs(st)[from.Slot-1] != from.PID {
		t.Errorf("the answer came from %+v, want one of the workers %+v", from, st.Workers.List)
	}

	// Ready by the clock, it may not have come to its handler of SIGTERM yet.
	eventually(t, "both servers listen", func() bool {
		return !slices.ContainsFunc(workerPIDs(st), func(pid int) bool {
			return !s.journal.printed(fmt.Sprintf("server %d: listening", pid))
		})
	})

	// A request in flight is answered, and its connection is not kept.
	slow := s.begin("/sleep?ms=700")
	m := s.mark()
	s.stop(patience)
	if a := s.awaitAnswer(slow); a.err != nil || a.code != http.StatusOK || !a.close {
		t.Errorf("the request in flight got status %d, close %v, error %v; want 200 and a closed connection", a.code, a.close, a.err)
	}
	for _, pid := range workerPIDs(st) {
		s.awaitSince(m, "worker.exited", "pid", pid, "expected", true, "code", 0)
	}
}

func TestCompanionsAloneBindNothing(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.alone]
command = ["sleep", "1000"]
startsecs = "0s"
`)
	s.awaitCompanion("alone", control.Running)
	if st := s.status(); len(st.Listeners) != 0 || len(st.Workers.List) != 0 {
		t.Errorf("listeners %q and workers %+v, want none", st.Listeners, st.Workers.List)
	}
	s.stop(patience)
}

func TestPlatformsSayWhereAndHowMany(t *testing.T) {
	t.Parallel()
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, "# everything is in the environment\n",
		withEnv("GOFORK_WORKER__HANDLER=hello", "GOFORK_WORKER__DRAIN_DELAY=0", "PORT="+port, "WEB_CONCURRENCY=3"))
	st := s.ready()
	if want := "tcp://0.0.0.0:" + port; !slices.Equal(st.Listeners, []string{want}) || st.Workers.Ready != 3 {
		t.Errorf("%d workers listen at %v, want 3 at %s", st.Workers.Ready, st.Listeners, want)
	}
	s.stop(patience)
}

func TestFlagsWinOverEnvironmentAndFile(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
handler = "hello"
count = 1
drain_delay = "0s"
`,
		withEnv("GOFORK_WORKER__COUNT=2", "GOFORK_SERVER__GRACEFUL_TIMEOUT=7s"),
		withArgs("--workers", "3", "--set", "server.shutdown_delay=2s"))
	st := s.ready()
	if st.Workers.Configured != 3 || st.Workers.Ready != 3 {
		t.Errorf("%d of %d workers are ready, want 3", st.Workers.Ready, st.Workers.Configured)
	}
	// shutdown_delay + graceful_timeout + 1s
	if st.StopBudgetSeconds != 10 {
		t.Errorf("the stop budget is %v s, want 10", st.StopBudgetSeconds)
	}
	s.signal(syscall.SIGINT)
	s.exit(patience)
}
