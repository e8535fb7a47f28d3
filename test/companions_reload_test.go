//go:build linux

package test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// script is a companion's command that runs a shell script.
func script(text string) string {
	return "command = [\"sh\", \"-c\", '''" + text + "''']"
}

// pidsByID returns the pids of the companions that have a process.
func pidsByID(st control.Status) map[string]int {
	pids := map[string]int{}
	for _, c := range st.Companions {
		if c.PID != 0 {
			pids[c.ID()] = c.PID
		}
	}
	return pids
}

// startsSince counts the processes that were started for a companion.
func (s *server) startsSince(m mark, name string) int {
	return len(s.journal.since(m, is("companion.started", "companion", name)))
}

func TestReloadTouchesOnlyTheCompanionsThatDiffer(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion_defaults]
startsecs = "0s"
[companion.same]
command = ["sleep", "1000"]
[companion.changed]
command = ["sleep", "1001"]
[companion.gone]
command = ["sleep", "1002"]
`)
	before := s.ready()
	s.edit("1001", "1011")
	s.edit("[companion.gone]", "[companion.added]")
	m := s.mark()
	s.mustReload()
	after := s.status()

	old, now := pidsByID(before), pidsByID(after)
	if after.Manager.PID != before.Manager.PID || now["same"] != old["same"] {
		t.Errorf("manager and same were %d and %d, are %d and %d", before.Manager.PID, old["same"], after.Manager.PID, now["same"])
	}
	if now["changed"] == old["changed"] || now["added"] == 0 || now["gone"] != 0 || len(now) != 3 {
		t.Errorf("the pids were %v, are %v", old, now)
	}
	if got, want := fmt.Sprintf("%+v", after.LastReload.Companions),
		"{Added:[added] Removed:[gone] Restarted:[changed] Unchanged:[same]}"; got != want {
		t.Errorf("the reload's result is %s, want %s", got, want)
	}
	for name, reason := range map[string]string{"changed": "reloaded", "gone": "removed"} {
		if exited := s.awaitSince(m, "companion.exited", "companion", name); exited.text("expected") != "true" || exited.text("reason") != reason {
			t.Errorf("want an expected end by %q, got %v", reason, exited)
		}
	}
}

func TestNumprocsTouchesOnlyTheInstancesConcerned(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion_defaults]
startsecs = "0s"
[companion.queue]
command = ["sleep", "1000"]
numprocs = 3
[companion.other]
command = ["sleep", "1000"]
`)
	before := s.ready()
	pids := pidsByID(before)
	for _, step := range []struct {
		from, to int
	}{{3, 5}, {5, 2}} {
		s.edit(fmt.Sprintf("numprocs = %d", step.from), fmt.Sprintf("numprocs = %d", step.to))
		m := s.mark()
		s.mustReload()
		st := s.status()
		now := pidsByID(st)
		if len(now) != step.to+1 {
			t.Fatalf("%d processes after numprocs = %d: %v", len(now), step.to, now)
		}
		for id, pid := range now {
			if old := pids[id]; old != 0 && old != pid {
				t.Errorf("%s had pid %d, has %d after numprocs = %d", id, old, pid, step.to)
			}
		}
		if want := max(step.to-step.from, 0); s.startsSince(m, "queue") != want || s.startsSince(m, "other") != 0 {
			t.Errorf("%d and %d instances were started for numprocs = %d, want %d and none",
				s.startsSince(m, "queue"), s.startsSince(m, "other"), step.to, want)
		}
		for id, pid := range pids {
			if p, ok := lookup(pid); ok && now[id] == 0 {
				t.Errorf("%s, %v, is still there after numprocs = %d", id, p, step.to)
			}
		}
		if st.Manager.PID != before.Manager.PID {
			t.Errorf("the manager has pid %d, had %d", st.Manager.PID, before.Manager.PID)
		}
		pids = now
	}
}

func TestManualStopOutlivesReloadAndManager(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion_defaults]
startsecs = "0s"
[companion.down]
command = ["sleep", "1000"]
env = { RELEASE = "one" }
[companion.up]
command = ["sleep", "1000"]
`)
	st := s.ready()
	s.must("companion", "stop", "down")
	m := s.mark()
	s.mustReload()
	s.edit(`RELEASE = "one"`, `RELEASE = "two"`) // a changed spec is for the next start
	s.mustReload()
	kill(t, mustLookup(t, st.Manager.PID), syscall.SIGKILL)
	s.awaitStatus("another manager runs the rest", func(now control.Status) bool {
		return now.Manager.State == control.ManagerRunning && now.Manager.PID != st.Manager.PID && pidsByID(now)["up"] != 0
	})
	s.mustReload()
	if c := companion(t, s.look(), "down"); c.State != control.Stopped || c.Desired != control.Down || s.startsSince(m, "down") != 0 {
		t.Errorf("the companion that was stopped by hand is %+v and was started %d times", c, s.startsSince(m, "down"))
	}
	s.must("companion", "start", "down")
	if c := s.awaitCompanion("down", control.Running); environ(c.PID)["RELEASE"] != "two" {
		t.Errorf("it was started with RELEASE=%s, want the new spec", environ(c.PID)["RELEASE"])
	}
}

func TestOnReloadSaysWhatHappensToAnUnchangedCompanion(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion_defaults]
startsecs = "0s"
stop_timeout = "200ms"
[companion.leaves]
command = ["sleep", "1000"]
[companion.restarts]
command = ["sleep", "1000"]
on_reload = "restart"
[companion.hears]
command = ["@TEST", "record", "@DIR/heard"]
on_reload = "SIGHUP"
`)
	before := pidsByID(s.ready())
	s.awaitLines("heard", 1)
	heard := fmt.Sprintf("start %d\n", before["hears"])
	for n, args := range [][]string{{"reload"}, {"companion", "reread"}} {
		m := s.mark()
		s.must(args...)
		s.awaitLines("heard", n+2)
		after := pidsByID(s.status())
		if after["leaves"] != before["leaves"] || after["hears"] != before["hears"] || after["restarts"] == before["restarts"] {
			t.Errorf("%v: the pids were %v, are %v; want that of restarts changed, no other", args, before, after)
		}
		if n := s.startsSince(m, "restarts"); n != 1 {
			t.Errorf("%v: it was started %d times", args, n)
		}
		heard += "hangup\n"
		if got := readFile(t, s.path("heard")); got != heard {
			t.Errorf("%v: it heard %q, want %q", args, got, heard)
		}
		if got := s.look().LastReload.Companions.Restarted; !slices.Equal(got, []string{"restarts"}) {
			t.Errorf("%v says that %v were restarted", args, got)
		}
		before = after
	}
}

func TestFilesOfASpecCountAsTheSpec(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion_defaults]
startsecs = "0s"
[companion.rules]
command = ["sleep", "1000"]
hash_files = ["@DIR/rules"]
[companion.env]
command = ["sleep", "1000"]
env_file = ["@DIR/env"]
[companion.neither]
command = ["sleep", "1000"]
`, withFile("rules", "one\n"), withFile("env", "RELEASE=one\n"))
	pids := pidsByID(s.ready())
	for _, step := range []struct{ file, content, restarts string }{
		{"rules", "two\n", "rules"},
		{"env", "RELEASE=two\n", "env"},
		{"rules", "two\n", ""}, // written, and the same
	} {
		writeFile(t, s.path(step.file), step.content)
		m := s.mark()
		s.mustReload()
		now := pidsByID(s.status())
		for id, pid := range now {
			starts := s.startsSince(m, id)
			if id == step.restarts && (pid == pids[id] || starts != 1) || id != step.restarts && (pid != pids[id] || starts != 0) {
				t.Errorf("%s has pid %d after %d, and was started %d times, when %s became %q", id, pid, pids[id], starts, step.file, step.content)
			}
		}
		pids = now
	}
	if got := environ(pids["env"])["RELEASE"]; got != "two" {
		t.Errorf("RELEASE is %q after the restart", got)
	}
}

// Whoever asks at the same time as others is told what came of it, and there
// are never two of one instance.
func TestRequestsAtTheSameTimeAreAnsweredOneByOne(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.it]
command = ["@TEST", "exclusive", "@DIR/it"]
startsecs = "0s"
backoff_initial = 0
`)
	s.ready()
	s.awaitLines("it", 1)
	requests := []string{"restart", "stop", "start", "restart", "stop", "restart", "start", "restart"}
	answers := make(chan string, len(requests))
	for _, op := range requests {
		go func() {
			res := s.run("companion", op, "it")
			if res.code != 0 && (res.code != 1 || !strings.Contains(res.stderr, "it")) {
				answers <- fmt.Sprintf("%s: exit code %d\n%s", op, res.code, res.stderr)
				return
			}
			answers <- ""
		}()
	}
	for range requests {
		if wrong := <-answers; wrong != "" {
			t.Error(wrong)
		}
	}
	s.must("companion", "restart", "it")
	if c := companion(t, s.look(), "it"); c.State != control.Running {
		t.Errorf("after the last restart it is %+v", c)
	}
	s.neverTwice("it")
}

func TestRestartIsAnsweredWhenTheOldGroupIsGone(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.family]
command = ["@TEST", "stubborn", "@DIR/family"]
startsecs = "0s"
stop_timeout = "300ms"
reload_timeout = "300ms"
`)
	s.ready()
	leader, child := s.awaitPair("family")
	s.must("companion", "restart", "family")
	if leader.alive() || child.alive() {
		t.Errorf("%v or %v lives after the restart", leader, child)
	}
	if c := s.awaitCompanion("family", control.Running); c.PID == leader.PID || c.StopKills != 1 {
		t.Errorf("the companion is %+v, want another pid and one kill", c)
	}
}
