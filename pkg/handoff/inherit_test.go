package handoff

import (
	"slices"
	"strings"
	"testing"
)

func TestScrubRemovesWhatWasMeantForUs(t *testing.T) {
	kept := []string{"PATH=/bin", "LISTEN_ADDR=:80", "EMPTY=", "GOFORKED=1", "INVOCATION_ID=x", "malformed"}
	removed := []string{
		"LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=a", "LISTEN_PIDFDID=7", "NOTIFY_SOCKET=/s", "WATCHDOG_USEC=1", "WATCHDOG_PID=1",
		"GOFORK_FD=3", "GOFORK_FDNAMES=a", "GOFORK_PID=1", "GOFORK_ROLE=manager", "GOFORK_SPEC=x", "GOFORK_SOCKET=/s", "GOFORK_WORKER__COUNT=4",
	}
	if got := Scrub(slices.Concat(removed, kept, removed)); !slices.Equal(got, kept) {
		t.Errorf("kept %q, want %q", got, kept)
	}
}

func TestListenEnv(t *testing.T) {
	for _, c := range []struct {
		n     int
		names []string
		want  []string
	}{
		{0, nil, []string{"LISTEN_FDS=0"}},
		{2, nil, []string{"LISTEN_FDS=2"}},
		{3, []string{"web", "unix:/run/a b.sock", ""}, []string{"LISTEN_FDS=3", "LISTEN_FDNAMES=web:unix_/run/a_b.sock:unknown"}},
		{1, []string{strings.Repeat("x", 300)}, []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=" + strings.Repeat("x", 255)}},
	} {
		if got := ListenEnv(c.n, c.names); !slices.Equal(got, c.want) {
			t.Errorf("ListenEnv(%d, %q) = %q, want %q", c.n, c.names, got, c.want)
		}
	}
}
