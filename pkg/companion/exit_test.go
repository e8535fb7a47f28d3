package companion

import (
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
)

// What an exit means depends on the configuration and on who wanted it.
func TestExitsAreJudged(t *testing.T) {
	ok, failed, killed := exitStatus{}, exitStatus{code: 3}, exitStatus{signal: syscall.SIGSEGV}
	unstartable := exitStatus{code: 127, startError: "cannot start a: not found"}
	for _, tt := range []struct {
		name     string
		mode     config.Autorestart
		codes    []int
		exit     exitStatus
		to       phase
		level    slog.Level
		expected bool
		reason   string
	}{
		{"always, success", config.RestartAlways, []int{0}, ok, backoff, alarm, false, control.ReasonExited},
		{"always, failure", config.RestartAlways, []int{0}, failed, backoff, alarm, false, control.ReasonExited},
		{"on-failure, success", config.RestartOnFailure, []int{0}, ok, exited, info, true, control.ReasonExited},
		{"on-failure, another success code", config.RestartOnFailure, []int{0, 3}, failed, exited, info, true, control.ReasonExited},
		{"on-failure, 0 is no success", config.RestartOnFailure, []int{3}, ok, backoff, alarm, false, control.ReasonExited},
		{"on-failure, failure", config.RestartOnFailure, []int{0}, failed, backoff, alarm, false, control.ReasonExited},
		{"on-failure, signal", config.RestartOnFailure, []int{0}, killed, backoff, alarm, false, "killed by SIGSEGV"},
		{"never, success", config.RestartNever, []int{0}, ok, exited, info, true, control.ReasonExited},
		{"never, failure", config.RestartNever, []int{0}, failed, exited, alarm, false, control.ReasonExited},
		{"never, signal", config.RestartNever, []int{0}, killed, exited, alarm, false, "killed by SIGSEGV"},
		{"always, cannot be started", config.RestartAlways, []int{0}, unstartable, backoff, alarm, false, "cannot start a: not found"},
		{"a code of 127 from the start is no success", config.RestartOnFailure, []int{127}, unstartable, backoff, alarm, false, "cannot start a: not found"},
		{"never, cannot be started", config.RestartNever, []int{0}, unstartable, exited, alarm, false, "cannot start a: not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, specOf("a", func(s *config.Companion) { s.Autorestart, s.SuccessCodes = tt.mode, tt.codes }))
			if tt.exit.startError == "" {
				r.up("a")
			}
			r.exit("a", tt.exit).is("a", tt.to)
			rec := r.recorded("companion.exited")
			if rec.level != tt.level || attr(rec, "expected") != tt.expected || attr(rec, "reason") != tt.reason {
				t.Errorf("record %v, want level %v, expected %v, reason %q", rec, tt.level, tt.expected, tt.reason)
			}
			// A start that failed has printed nothing; what is known is another attempt's.
			if wants := !tt.expected && tt.exit.startError == ""; (rec.output == key{"a", 1}) != wants {
				t.Errorf("output is attached for %v, want %v", rec.output, wants)
			}
			if e := r.get("a").lastExit; e.Expected != tt.expected || e.Reason != tt.reason {
				t.Errorf("last exit %+v", e)
			}
			if tt.to == backoff && r.recorded("companion.backoff").output != rec.output {
				t.Error("the backoff record differs from the exit's in what it attaches")
			}
		})
	}
}

// Whatever ends because somebody wanted it to is expected, however it ended.
func TestAskedExitsAreExpectedAndCostNothing(t *testing.T) {
	for _, tt := range []struct {
		reason string
		ask    func(*rig)
	}{
		{causeStop, func(r *rig) { r.act(opStop, "a") }},
		{causeRestart, func(r *rig) { r.act(opRestart, "a") }},
		{causeReload, func(r *rig) { r.apply(specOf("a", changed)) }},
		{causeRemoved, func(r *rig) { r.apply() }},
		{causeShutdown, func(r *rig) { r.do(shutdownAsked{cause: causeShutdown}) }},
		{causeLifetime, func(r *rig) { r.pass(time.Hour) }},
	} {
		for _, s := range []exitStatus{{}, {code: 1}, {signal: syscall.SIGKILL}} {
			r := newRig(t, specOf("a", func(s *config.Companion) { s.MaxLifetime = time.Hour })).up("a")
			tt.ask(r)
			i := r.is("a", stopping).get("a")
			r.exit("a", s)
			rec := r.recorded("companion.exited")
			if rec.level != info || attr(rec, "expected") != true || attr(rec, "reason") != tt.reason || rec.message != "companion exited" {
				t.Errorf("%s: %v", tt.reason, rec)
			}
			if rec.output != (key{}) {
				t.Errorf("%s: an expected exit is no crash to report", tt.reason)
			}
			if i.failures.Failures != 0 || i.phase == backoff {
				t.Errorf("%s: %d failures, %s", tt.reason, i.failures.Failures, i.phase)
			}
		}
	}
}

func changed(s *config.Companion) { s.Hash = "2" }

func TestExitRecordSaysHowItEnded(t *testing.T) {
	r := newRig(t, specOf("a")).up("a")
	pid := r.get("a").pid
	r.now = r.now.Add(90 * time.Second)
	r.exit("a", exitStatus{signal: syscall.SIGKILL, core: true})
	rec := r.recorded("companion.exited")
	if attr(rec, "pid") != int64(pid) || attr(rec, "signal") != "SIGKILL" || attr(rec, "code") != nil ||
		attr(rec, "core_dumped") != true || attr(rec, "uptime") != 90*time.Second {
		t.Errorf("%v", rec)
	}
	if rec.message != "companion exited, perhaps out of memory?" {
		t.Errorf("message %q", rec.message)
	}
	r.begin2("a").exit("a", exitStatus{code: 7})
	rec = r.recorded("companion.exited")
	if attr(rec, "code") != int64(7) || attr(rec, "signal") != nil {
		t.Errorf("%v", rec)
	}
	r.pass(time.Hour).exit("a", exitStatus{code: 126, startError: "cannot start a: permission denied"})
	rec = r.recorded("companion.exited")
	if rec.message != "companion cannot be started" || attr(rec, "uptime") != time.Duration(0) || attr(rec, "pid") != nil {
		t.Errorf("%v", rec)
	}
}

// begin2 lets any delay pass and carries the start out.
func (r *rig) begin2(target string) *rig {
	r.t.Helper()
	return r.pass(time.Hour).begin(target)
}

// What an essential companion's end means for all: its own code, 128+n, 5 for 0.
func TestEssentialEndIsFinal(t *testing.T) {
	essential := func(mode config.Autorestart, retries int) func(*config.Companion) {
		return func(s *config.Companion) { s.Essential, s.Autorestart, s.Startretries = true, mode, retries }
	}
	for _, tt := range []struct {
		name string
		spec func(*config.Companion)
		exit exitStatus
		want string // "" = none
	}{
		{"code", essential(config.RestartNever, 0), exitStatus{code: 7}, "final a: 7"},
		{"code 0", essential(config.RestartNever, 0), exitStatus{}, "final a: 5"},
		{"code 0, on-failure", essential(config.RestartOnFailure, 0), exitStatus{}, "final a: 5"},
		{"signal", essential(config.RestartNever, 0), exitStatus{signal: syscall.SIGTERM}, "final a: 143"},
		{"not found", essential(config.RestartNever, 0), exitStatus{code: 127, startError: "cannot start a"}, "final a: 127"},
		{"restarted", essential(config.RestartAlways, 0), exitStatus{code: 7}, ""},
		{"not essential", func(s *config.Companion) { s.Autorestart = config.RestartNever }, exitStatus{code: 7}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, specOf("a", tt.spec))
			if tt.exit.startError == "" {
				r.up("a")
			}
			r.exit("a", tt.exit)
			if got := finals(r); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("fatal", func(t *testing.T) {
		r := newRig(t, specOf("a", essential(config.RestartAlways, 1))).up("a").exit("a", crash)
		if got := finals(r); got != "" {
			t.Fatalf("%q at the first failure", got)
		}
		r.begin2("a").exit("a", exitStatus{code: 9}).is("a", fatal)
		if got := finals(r); got != "final a: 9" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("stopped by a user or at a shutdown", func(t *testing.T) {
		r := newRig(t, specOf("a", essential(config.RestartNever, 0))).up("a")
		r.act(opStop, "a")
		r.exit("a", exitStatus{code: 7})
		r = newRig(t, specOf("a", essential(config.RestartNever, 0))).up("a")
		r.do(shutdownAsked{}).exit("a", exitStatus{code: 7})
		if got := finals(r); got != "" {
			t.Errorf("got %q", got)
		}
	})
}

func finals(r *rig) string {
	for _, a := range r.all {
		if s, ok := a.(send); ok && s.message.Final != nil {
			return say(a)
		}
	}
	return ""
}
