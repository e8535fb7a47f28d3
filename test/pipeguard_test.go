//go:build linux

package test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// A manager that is killed takes the reader of its companions' output with it.
// They must not die of that, but be stopped with their own signal.
func TestKilledManagerLeavesChattyCompanionsTheirStopSignal(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.chatty]
command = ["bash", "-c", "trap 'echo stopped as asked >> @DIR/ends; exit 0' USR1; while :; do echo line after line; done"]
stop_signal = "USR1"
stdout = "log"
[log]
level = "warn" # a hundred thousand lines keep a busy machine's reader longer than the stop may take
`)
	before := s.awaitStatus("the companion is up", func(st control.Status) bool {
		return len(st.Companions) == 1 && st.Companions[0].State == control.Running
	})
	if err := syscall.Kill(before.Manager.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.awaitLines("ends", 1)
	s.awaitStatus("another manager runs it again", func(st control.Status) bool {
		return st.Manager.PID != before.Manager.PID && len(st.Companions) == 1 && st.Companions[0].State == control.Running
	})
	if ends := readFile(t, filepath.Join(s.dir, "ends")); strings.TrimSpace(ends) != "stopped as asked" {
		t.Errorf("it ended with %q", ends)
	}
}
