//go:build linux

package test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// asPID1 starts gofork as the first process of a pid namespace, as a container
// does, or skips where that is not permitted.
func asPID1(t *testing.T, config string, options ...option) *server {
	t.Helper()
	argv := []string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child"}
	if os.Geteuid() != 0 {
		argv = append(argv, "--user", "--map-root-user")
	}
	if out, err := exec.Command(argv[0], append(argv[1:], "true")...).CombinedOutput(); err != nil {
		skip(t, fmt.Sprintf("no pid namespace may be made here: %v %s", err, out))
	}
	return start(t, config, append(options, inNamespace(argv...))...)
}

// first returns the arbiter as it is seen from outside its namespace.
func (s *server) first() process {
	s.t.Helper()
	children := childrenOf(s.pid())
	if len(children) != 1 {
		s.t.Fatalf("unshare has children %v, want the arbiter alone", children)
	}
	return children[0]
}

func TestPID1ServesAndStopsOnTerm(t *testing.T) {
	t.Parallel()
	s := asPID1(t, twoHello+`
[companion.beside]
command = ["sleep", "1000"]
startsecs = "0s"
`)
	if st := s.ready(); st.PID != 1 {
		t.Errorf("gofork has pid %d in its namespace, want 1", st.PID)
	}
	s.mustGet("/")
	kill(t, s.first(), syscall.SIGTERM)
	if code := s.exit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestPID1ReapsOrphans(t *testing.T) {
	t.Parallel()
	// The subshells end at once: what they started has lost its parent.
	s := asPID1(t, `
[companion.litters]
command = ["sh", "-c", "for i in 1 2 3 4 5; do (E2E_ORPHAN=1 sleep 0.3 &); done; echo littered; exec sleep 1000"]
startsecs = "0s"
`)
	eventually(t, "the orphans were made", func() bool { return s.journal.printed("littered") })
	arbiter := s.first()
	eventually(t, "every orphan has ended and was reaped", func() bool {
		return !slices.ContainsFunc(processes(), func(p process) bool {
			return descends(p, arbiter.PID) && (p.State == 'Z' || environ(p.PID)["E2E_ORPHAN"] != "")
		})
	})
	if c := s.awaitCompanion("litters", control.Running); c.Exits != 0 {
		t.Errorf("the companion is %+v; an orphan was taken for it", c)
	}
	kill(t, arbiter, syscall.SIGTERM)
	if code := s.exit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// descends reports whether p is below ancestor in the process tree.
func descends(p process, ancestor int) bool {
	for p.PPID > 1 {
		if p.PPID == ancestor {
			return true
		}
		parent, ok := lookup(p.PPID)
		if !ok {
			return false
		}
		p = parent
	}
	return false
}

func TestPID1KeepsTheExitCode(t *testing.T) {
	t.Parallel()
	s := asPID1(t, `
[worker]
command = ["@TEST", "exit", "4"]
count = 1
`)
	if code := s.exit(patience); code != 4 {
		t.Errorf("exit code %d, want 4: app failed to load", code)
	}
}

// A container may have any uid, no passwd entry for it, and nothing to write to.
func TestArbitraryUserWithoutAWritablePath(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		skip(t, "only root can become another user")
	}
	s := start(t, twoHello+`
[server]
runtime_dir = "/proc/gofork"
[companion.beside]
command = ["sleep", "1000"]
startsecs = "0s"
`, withEnv("TMPDIR=/proc/tmp", "HOME=/proc/home"), asUser(54321), withDir("/"))
	s.await("server.ready")
	s.await("companion.running")
	s.mustGet("/")
	for _, p := range s.everything() {
		if uid := statusLine(p.PID, "Uid"); !strings.HasPrefix(uid, "54321\t54321") {
			t.Errorf("%v runs as %q, want 54321", p, uid)
		}
	}
	s.stop(patience)
}
