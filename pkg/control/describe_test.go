package control_test

import (
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

func TestUptimeIsWrittenAsSupervisorctlDoes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                      "0:00:00",
		-time.Second:           "0:00:00",
		61 * time.Second:       "0:01:01",
		24*time.Hour - 1:       "23:59:59",
		24 * time.Hour:         "1 day, 0:00:00",
		49*time.Hour + 62e9:    "2 days, 1:01:02",
		400 * 24 * time.Hour:   "400 days, 0:00:00",
		36*time.Hour + 999e6:   "1 day, 12:00:00",
		time.Hour + 3599*1e9:   "1:59:59",
		10*time.Hour + 5*60e9:  "10:05:00",
		12*time.Hour + 1e9 - 1: "12:00:00",
	} {
		if got := control.Uptime(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := control.Clock(49*time.Hour + 62*time.Second); got != "49:01:02" {
		t.Errorf("a cell of a table has no space: %q", got)
	}
}

func TestDescriptionOfEveryState(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	one, segv := 1, "SIGSEGV"
	code := &control.Exit{Code: &one, Reason: control.ReasonExited}
	signal := &control.Exit{Signal: &segv, Reason: "killed by SIGSEGV"}
	missing := &control.Exit{Code: &one, Reason: `cannot find "job" in PATH`}
	for _, c := range []struct {
		want string
		is   control.Companion
	}{
		{"pid 14, uptime 0:00:01", control.Companion{State: control.Running, PID: 14, StartedAt: ago(time.Second)}},
		{"pid 14, uptime 3 days, 2:00:00", control.Companion{State: control.Running, PID: 14, StartedAt: ago(74 * time.Hour)}},
		{"pid 14, uptime 0:00:00", control.Companion{State: control.Running, PID: 14, StartedAt: ago(-time.Hour)}}, // the clock was set back
		{"pid 14, starting for 0:01:00", control.Companion{State: control.Starting, PID: 14, StartedAt: ago(time.Minute)}},
		{"starting", control.Companion{State: control.Starting}}, // asked for, and not forked yet
		{"pid 14, stopping", control.Companion{State: control.Stopping, PID: 14}},
		{"waiting for its process group to end", control.Companion{State: control.Stopping}},
		{"exited with code 1, retrying in 3s (failure 3)", control.Companion{State: control.Backoff, LastExit: code, NextRetryAt: ago(-2500 * time.Millisecond), Failures: 3}},
		{"killed by SIGSEGV, retrying in 0s (failure 1)", control.Companion{State: control.Backoff, LastExit: signal, NextRetryAt: ago(time.Second), Failures: 1}},
		{"exited with code 1, waiting for its process group to end (failure 1)", control.Companion{State: control.Backoff, LastExit: code, Failures: 1}},
		{`cannot find "job" in PATH, gave up after failure 4`, control.Companion{State: control.Fatal, LastExit: missing, Failures: 4}},
		{"exited with code 1", control.Companion{State: control.Exited, LastExit: code}},
		{"stopped manually", control.Companion{State: control.Stopped, Desired: control.Down, LastExit: code, Exits: 1}},
		{"not started", control.Companion{State: control.Stopped, Desired: control.Down}},
		{"waiting for the manager", control.Companion{State: control.Stopped, Desired: control.Up}},
	} {
		c.is.Describe(now)
		if c.is.Description != c.want {
			t.Errorf("%s: %q, want %q", c.is.State, c.is.Description, c.want)
		}
	}
}
