//go:build linux

package test

import (
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// Who reads the log may go away: a pager that was closed, a collector that was
// restarted. The application must not notice.
func TestLogReaderThatGoesAwayEndsNothing(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
handler = "hello"
count = 1
[companion.a]
command = ["sleep", "1000"]
`, withWrapper("bash", "-c", `exec 2> >(head -n 1 >/dev/null) >&2; exec "$0" "$@"`))
	up := func(st control.Status) bool {
		return st.Workers.Ready == 1 && st.Manager != nil && st.Manager.State == control.ManagerRunning &&
			len(st.Companions) == 1 && st.Companions[0].State == control.Running
	}
	before := s.awaitStatus("everything up", up)

	// Each of these makes arbiter, manager or a worker write to the log.
	s.must("companion", "restart", "a")
	s.must("reload")
	s.must("scale", "2")
	after := s.awaitStatus("everything up again", func(st control.Status) bool {
		return st.Workers.Ready == 2 && st.Companions[0].State == control.Running
	})
	if after.PID != before.PID || after.Manager.PID != before.Manager.PID {
		t.Errorf("arbiter and manager were %d and %d, are %d and %d", before.PID, before.Manager.PID, after.PID, after.Manager.PID)
	}
	s.signal(syscall.SIGTERM)
	if code := s.exit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
