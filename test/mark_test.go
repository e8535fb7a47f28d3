//go:build linux

package test

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The harness itself: a process that outlives its parent, and one in a session
// of its own, must be seen, or every other test here proves less than it says.
func TestMarkFindsWhatIsLeftBehind(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"stubborn", "daemonize"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			s := &server{t: t, id: rand.Text(), dir: shortTempDir(t)}
			t.Cleanup(s.killAll)
			cmd := exec.Command(testBinary(t), role, filepath.Join(s.dir, "pair"))
			cmd.Env = append(cleanEnv(), markEnv+"="+s.id)
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			leader, child := s.awaitPair("pair")
			if got := s.everything(); len(got) != 2 {
				t.Errorf("the mark finds %v, want %v and %v", got, leader, child)
			}
			if got := childrenOf(leader.PID); len(got) != 1 || got[0].PID != child.PID {
				t.Errorf("the children of %v are %v, want %v", leader, got, child)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("the leader ended with success, want SIGKILL")
			}
			if leader.exists() || !child.alive() {
				t.Errorf("leader exists: %v, child lives: %v; want only the child", leader.exists(), child.alive())
			}
			if got := s.everything(); len(got) != 1 || got[0].PID != child.PID {
				t.Errorf("the mark finds %v, want %v", got, child)
			}
			s.killAll()
			awaitEnd(t, patience, child)
		})
	}
}

func TestMarkedEnvironmentIsOtherwiseClean(t *testing.T) {
	for _, key := range []string{"GOFORK_WORKER__COUNT", "LISTEN_FDS", "NOTIFY_SOCKET", "PORT"} {
		t.Setenv(key, "1")
	}
	for _, kv := range cleanEnv() {
		if strings.HasPrefix(kv, "GOFORK_") || strings.HasPrefix(kv, "LISTEN_") || strings.HasPrefix(kv, "NOTIFY_SOCKET=") || strings.HasPrefix(kv, "PORT=") {
			t.Errorf("%s is passed to gofork under test", kv)
		}
	}
}
