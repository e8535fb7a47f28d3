//go:build linux

package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

func TestAutorestartAndSuccessCodes(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, script, keys string
		again, expected    bool
	}{
		{"never-success", "exit 0", `autorestart = "never"`, false, true},
		{"never-failure", "exit 7", `autorestart = "never"`, false, false},
		{"on-failure-success", "exit 0", `autorestart = "on-failure"`, false, true},
		{"on-failure-code", "exit 7", "autorestart = \"on-failure\"\nsuccess_codes = [0, 7]", false, true},
		{"on-failure-failure", "exit 1", "autorestart = \"on-failure\"\nsuccess_codes = [0, 7]", true, false},
		{"on-failure-signal", "kill -9 $$", "autorestart = \"on-failure\"\nsuccess_codes = [0, 9, 137]", true, false},
		{"always-success", "exit 0", `autorestart = "always"`, true, false},
	}
	config := "[companion_defaults]\nstartsecs = \"0s\"\nbackoff_initial = \"50ms\"\nbackoff_max = \"60s\"\n"
	for _, tt := range cases {
		config += fmt.Sprintf("[companion.%s]\n%s\n%s\n", tt.name, script(tt.script), tt.keys)
	}
	s := start(t, config)
	for _, tt := range cases {
		exited := s.await("companion.exited", "companion", tt.name)
		level := map[bool]string{true: "INFO", false: "ERROR"}[tt.expected]
		if exited.text("expected") != fmt.Sprint(tt.expected) || exited.Level != level {
			t.Errorf("want expected=%v at level %s, got %v", tt.expected, level, exited)
		}
		if tt.again {
			s.await("companion.started", "companion", tt.name, "attempt", 2)
			continue
		}
		if c := s.awaitCompanion(tt.name, control.Exited); c.LastExit == nil || c.LastExit.Expected != tt.expected || s.startsSince(0, tt.name) != 1 {
			t.Errorf("%s is %+v after %d starts", tt.name, c, s.startsSince(0, tt.name))
		}
	}
}

// Five lines are enough to see why, and are where one looks first.
func TestCrashReportsCarryTheLastLines(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.breaks]
`+script("for n in 1 2 3 4 5 6 7 8; do echo line $n; done; exit 6")+`
stdout = "log"
startretries = 1
backoff_initial = "50ms"
[companion.ends]
`+script("echo all is well")+`
stdout = "log"
autorestart = "never"
`)
	for _, event := range []string{"companion.exited", "companion.backoff", "companion.fatal"} {
		r := s.await(event, "companion", "breaks")
		if got, want := r.text("output"), "[line 4 line 5 line 6 line 7 line 8]"; got != want {
			t.Errorf("%s carries %s, want %s", event, got, want)
		}
	}
	if r := s.await("companion.exited", "companion", "ends"); r.text("output") != "" {
		t.Errorf("an expected end carries the output: %v", r)
	}
	if c := s.awaitCompanion("breaks", control.Fatal); c.Exits != 2 || c.Failures != 2 {
		t.Errorf("the companion is %+v, want two exits and failures: a start and a restart", c)
	}
}

// A script says READY=1 by way of the client, a child of the companion.
func TestScriptAnnouncesItselfWithTheClient(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.slow]
`+script(binary(t)+" notify READY=1 && exec sleep 1000")+`
startsecs = "300s"
`)
	s.awaitCompanion("slow", control.Running)
}

func TestMaxLifetimeRecyclesACompanion(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.short]
command = ["sleep", "1000"]
startsecs = "0s"
backoff_initial = "60s"
backoff_max = "60s"
max_lifetime = "300ms"
max_lifetime_jitter = "200ms"
`)
	s.await("companion.started", "attempt", 3)
	ends := s.journal.all(is("companion.exited"))
	starts := s.journal.all(is("companion.started"))
	for i, r := range ends[:2] {
		if r.text("expected") != "true" || r.Level != "INFO" || r.text("reason") != "recycled: max_lifetime" {
			t.Errorf("want an expected end by max_lifetime, got %v", r)
		}
		if lived := r.At.Sub(starts[i].At); lived < 290*time.Millisecond || lived > 500*time.Millisecond+slack {
			t.Errorf("it lived for %s, want 300 ms to 500 ms", lived)
		}
	}
	if c := companion(t, s.look(), "short"); c.Failures != 0 {
		t.Errorf("recycling counts as a failure: %+v", c)
	}
}

func TestMaxMemoryRecyclesACompanion(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion_defaults]
startsecs = "0s"
max_memory = "40MiB"
[companion.grows]
`+script(`if mkdir @DIR/grown 2>/dev/null; then x=$(head -c 60000000 /dev/zero | tr '\0' x); fi; while :; do sleep 1000; done`)+`
[companion.small]
command = ["sleep", "1000"]
`)
	r := s.await("companion.exited")
	if r.text("companion") != "grows" || r.text("expected") != "true" || r.Level != "INFO" || r.text("reason") != "recycled: max_memory" {
		t.Errorf("want the expected end of grows by max_memory, got %v", r)
	}
	s.await("companion.started", "companion", "grows", "attempt", 2)
	if c := companion(t, s.look(), "small"); c.Exits != 0 {
		t.Errorf("the small one is %+v", c)
	}
}

// The end of an essential companion is gofork's, after everybody else was asked.
func TestEssentialCompanionEndsGofork(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, companion string
		code            int
	}{
		{"exit code", script("until [ -e @DIR/go ]; do sleep 0.05; done; exit 7") + "\nautorestart = \"never\"", 7},
		{"signal", script("until [ -e @DIR/go ]; do sleep 0.05; done; kill -9 $$") + "\nautorestart = \"never\"", 128 + 9},
		{"done", script("until [ -e @DIR/go ]; do sleep 0.05; done; exit 0") + "\nautorestart = \"never\"", 5},
		{"gave up", script("until [ -e @DIR/go ]; do sleep 0.05; done; exit 4") + "\nstartretries = 1\nbackoff_initial = \"20ms\"", 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, `
[companion_defaults]
startsecs = "0s"
[companion.heart]
essential = true
`+tt.companion+`
[companion.other]
command = ["@TEST", "exclusive", "@DIR/other"]
`)
			s.ready()
			s.awaitLines("other", 1)
			writeFile(t, s.path("go"), "go\n")
			if code := s.exit(patience); code != tt.code {
				t.Errorf("gofork ended with %d, want %d", code, tt.code)
			}
			if got := readFile(t, s.path("other")); strings.Count(got, "stop ") != 1 {
				t.Errorf("the other companion was not asked to end: %q", got)
			}
			s.await("companion.exited", "companion", "other", "expected", true)
			s.await("server.stopped")
		})
	}
}

// Twenty that need a second each are stopped in one second, not in twenty.
func TestStopTakesAsLongAsTheSlowest(t *testing.T) {
	t.Parallel()
	const count = 20
	s := start(t, fmt.Sprintf(`
[companion.slow]
%s
numprocs = %d
startsecs = "0s"
`, script(`trap 'sleep 1; exit 0' TERM; echo up >> @DIR/up; while :; do sleep 1000 & wait; done`), count))
	s.ready()
	s.awaitLines("up", count)
	s.stop(time.Second + slack)
	first := s.await("companion.stopping")
	ends := s.journal.all(is("companion.exited", "expected", true, "code", 0))
	if len(ends) != count {
		t.Fatalf("%d of %d ended by themselves", len(ends), count)
	}
	took := ends[count-1].At.Sub(first.At)
	if took < 950*time.Millisecond || took > 10*time.Second {
		t.Errorf("the stop took %s, want about a second", took)
	}
	t.Logf("stopping %d companions that need 1s each took %s", count, took.Round(time.Millisecond))
}

func TestManagerStopWindowFollowsTheSlowestCompanion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, config string
		window       float64
	}{
		{"derived", "", 310},
		{"explicit", "[manager]\nstop_timeout = \"400s\"\n", 400},
		{"another buffer", "[manager]\nshutdown_buffer = \"1s\"\n", 301},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, tt.config+`
[companion_defaults]
startsecs = "0s"
[companion.slow]
stop_timeout = "300s"
command = ["sleep", "1000"]
[companion.quick]
stop_timeout = "30s"
command = ["sleep", "1000"]
`)
			if got := s.ready().Manager.StopTimeoutSeconds; got != tt.window {
				t.Errorf("the manager's stop window is %v s, want %v", got, tt.window)
			}
			// What the platform has to allow is a second more, for the arbiter itself.
			res := runGofork(t, s.id, s.dir, "check", "--json", "-c", s.file)
			if want := fmt.Sprintf(`"stop_budget_seconds": %v,`, tt.window+1); res.code != 0 || !strings.Contains(res.stdout, want) {
				t.Errorf("check: exit code %d, want %s in\n%s%s", res.code, want, res.stdout, res.stderr)
			}
		})
	}
}

// What neither companion nor manager ends in time, the arbiter does.
func TestArbiterKillsTheManagerAfterItsWindow(t *testing.T) {
	t.Parallel()
	s := start(t, `
[manager]
stop_timeout = "500ms"
[companion.deaf]
command = ["@TEST", "stubborn", "@DIR/deaf"]
startsecs = "0s"
stop_timeout = "300s"
`)
	s.ready()
	leader, child := s.awaitPair("deaf")
	s.signal(syscall.SIGTERM)
	s.exit(500*time.Millisecond + slack)
	s.await("manager.killed")
	if leader.alive() || child.alive() {
		t.Errorf("%v or %v outlives gofork", leader, child)
	}
}
