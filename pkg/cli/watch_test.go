package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// The clock was set by a day after the companion was started.
func TestWatchGoesOnFromTheUptimeThatItWasTold(t *testing.T) {
	var out bytes.Buffer
	r := &run{stdio: Stdio{Out: &out}}
	started := time.Now().Add(-24 * time.Hour)
	s := &control.Status{Companions: []control.Companion{{
		Name: "a", Instance: 1, State: control.Running, Desired: control.Up, PID: 14, StartedAt: &started, UptimeSeconds: 5,
	}}}
	if err := r.draw(s, nil, time.Now().Add(-10*time.Second)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "pid 14, uptime 0:00:15") {
		t.Errorf("shows\n%s", &out)
	}
	if !s.Companions[0].StartedAt.Equal(started) {
		t.Error("the picture itself was changed")
	}
}
