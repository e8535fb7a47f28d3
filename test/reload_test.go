//go:build linux

package test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// edit changes the configuration file; old has to be in it.
func (s *server) edit(old, replacement string) {
	s.t.Helper()
	before := readFile(s.t, s.file)
	if !strings.Contains(before, old) {
		s.t.Fatalf("the configuration has no %q:\n%s", old, before)
	}
	writeFile(s.t, s.file, strings.ReplaceAll(before, old, replacement))
}

// reload sends SIGHUP and returns the record of how it went.
func (s *server) reload() record {
	s.t.Helper()
	m := s.mark()
	s.signal(syscall.SIGHUP)
	return s.journal.await(s.t, m, either("reload.done", "reload.failed"), "the reload's result")
}

// mustReload is reload for one that has to succeed.
func (s *server) mustReload() record {
	s.t.Helper()
	r := s.reload()
	if r.Event != "reload.done" {
		s.t.Fatalf("the reload failed: %v", r)
	}
	return r
}

// hangingReload has workers hang when they boot, and asks for a reload that waits for
// the first of them.
func (s *server) hangingReload() mark {
	s.t.Helper()
	writeFile(s.t, s.path("app"), "hang")
	m := s.mark()
	s.signal(syscall.SIGHUP)
	s.awaitSince(m, "worker.started", "generation", 2)
	eventually(s.t, "the new worker hangs", func() bool { return s.journal.printed("hanging") })
	return m
}

func either(events ...string) match {
	return func(r record) bool { return slices.Contains(events, r.Event) }
}

// since returns the matching records after a mark.
func (j *journal) since(from mark, what match) []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []record
	for _, r := range j.records[from:] {
		if what(r) {
			found = append(found, r)
		}
	}
	return found
}

func TestReloadReplacesEveryWorkerAndEndsEachOnce(t *testing.T) {
	t.Parallel()
	s := start(t, `
[worker]
command = ["@TEST", "counted", "@DIR/ended"]
count = 3
ready = "notify"
`)
	before := workerPIDs(s.ready())
	m := s.mark()
	s.mustReload()
	if r := s.awaitSince(m, "reload.started"); !strings.Contains(r.Msg, "hang up") {
		t.Errorf(`want "hang up" in %v`, r)
	}
	if n := len(s.journal.since(m, is("worker.started", "generation", 2))); n != 3 {
		t.Errorf("%d workers of the new generation were started, want 3", n)
	}
	// The first of the old ones was asked to end when the last of the new ones
	// was ready.
	for _, r := range s.journal.since(m, is("worker.draining")) {
		if n := len(s.journal.since(m, func(o record) bool { return o.Event == "worker.ready" && !o.At.After(r.At) })); n != 3 {
			t.Errorf("an old worker was asked to end when %d of 3 new ones were ready: %v", n, r)
		}
	}
	for _, pid := range before {
		r := s.awaitSince(m, "worker.exited", "pid", pid)
		if r.text("expected") != "true" || r.text("code") != "0" || r.Level != "INFO" {
			t.Errorf("want an expected exit with code 0 at level info, got %v", r)
		}
	}
	ended := strings.Fields(readFile(t, s.path("ended")))
	slices.Sort(ended)
	var want []string
	for _, pid := range before {
		want = append(want, fmt.Sprint(pid))
	}
	slices.Sort(want)
	if !slices.Equal(ended, want) {
		t.Errorf("SIGTERM was received by %v, want once by each of %v", ended, want)
	}
	st := s.look()
	if st.Generation != 2 || st.Workers.Ready != 3 || st.LastReload == nil || !st.LastReload.OK {
		t.Errorf("status is %+v, want generation 2 ready and a reload that is ok", st)
	}
}

func TestReloadAnswersWhatTheOldWorkersHold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, worker, path, body string }{
		{"handler", `handler = "hello"`, "/sleep?d=1500ms", "hello from gofork"},
		{"command", `command = ["@TEST", "http"]`, "/hold", "held"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, "[worker]\ncount = 1\nready = \"notify\"\n"+tt.worker)
			old := workerPIDs(s.ready())[0]
			held := s.begin(tt.path)
			if tt.name == "command" {
				eventually(t, "the worker holds the request", func() bool { return s.journal.printed("holding") })
			}
			s.mustReload()
			if pid := workerPIDs(s.look()); !slices.Contains(pid, old) && tt.name == "handler" {
				t.Errorf("the old worker %d has not waited for its request: %v", old, pid)
			}
			if a := s.awaitAnswer(held); a.err != nil || a.code != http.StatusOK || !strings.Contains(a.body, tt.body) {
				t.Errorf("the request in flight got %d %q, error %v; want 200", a.code, a.body, a.err)
			}
			s.await("worker.exited", "pid", old, "code", 0, "expected", true)
		})
	}
}

func TestReloadTakesRemovedEnvironmentAway(t *testing.T) {
	t.Parallel()
	s := start(t, `
[server]
env = { FROM_TABLE = "yes" }
env_file = ["@DIR/dotenv"]
[worker]
command = ["@TEST", "http"]
count = 1
[companion.beside]
command = ["sleep", "1000"]
startsecs = "0s"
[hooks]
when_ready = ["@TEST", "hook", "@DIR/when_ready"]
post_fork = ["@TEST", "hook", "@DIR/post_fork"]
`, withFile("dotenv", "FROM_FILE=yes\n"))
	st := s.ready()
	s.awaitLines("when_ready", 1)
	s.awaitLines("post_fork", 1)
	for _, key := range []string{"FROM_TABLE", "FROM_FILE"} {
		if v := environ(workerPIDs(st)[0])[key]; v != "yes" {
			t.Errorf("the worker has %s=%q, want yes", key, v)
		}
		if v := environ(companion(t, st, "beside").PID)[key]; v != "yes" {
			t.Errorf("the companion has %s=%q, want yes", key, v)
		}
		if got := tryRead(s.path("when_ready")); !strings.Contains(got, key+"=yes") {
			t.Errorf("the hook has no %s=yes but %s", key, got)
		}
	}
	s.edit(`env = { FROM_TABLE = "yes" }`, "")
	writeFile(t, s.path("dotenv"), "")
	if err := os.Remove(s.path("post_fork")); err != nil {
		t.Fatal(err)
	}
	s.mustReload()
	s.reload() // its hooks run with what the one before has brought
	eventually(t, "post_fork of the last reload", func() bool {
		return strings.Contains(tryRead(s.path("post_fork")), "GOFORK_GENERATION=3")
	})
	st = s.awaitStatus("the new generation serves alone", func(st control.Status) bool {
		return len(st.Workers.List) == 1 && st.Workers.List[0].Generation == 3 && allRunning(st)
	})
	lines := strings.Split(strings.TrimSpace(tryRead(s.path("post_fork"))), "\n")
	for _, key := range []string{"FROM_TABLE", "FROM_FILE"} {
		if v, ok := environ(workerPIDs(st)[0])[key]; ok {
			t.Errorf("the worker still has %s=%q", key, v)
		}
		if v, ok := environ(companion(t, st, "beside").PID)[key]; ok {
			t.Errorf("the companion still has %s=%q", key, v)
		}
		if last := lines[len(lines)-1]; strings.Contains(last, key) {
			t.Errorf("the hook still has %s: %s", key, last)
		}
	}
}

func TestReloadOpensAndClosesAddressesByDifference(t *testing.T) {
	t.Parallel()
	goes, comes := freeAddr(t), freeAddr(t)
	s := start(t, `
[server]
bind = ["@ADDR", "`+goes+`", "unix:@DIR/goes.sock"]
[worker]
command = ["@TEST", "http"]
count = 1
`)
	st := s.ready()
	kept := descriptors(t, workerPIDs(st)[0])[3]
	s.edit(`"`+goes+`", "unix:`+s.dir+`/goes.sock"`, `"`+comes+`", "unix:`+s.dir+`/comes.sock"`)
	s.mustReload()
	st = s.look()
	want := []string{"tcp://" + s.addr, "tcp://" + comes, "unix://" + s.dir + "/comes.sock"}
	if !slices.Equal(st.Listeners, want) && !slices.Equal(st.Listeners, []string{want[0], want[1], "unix:" + s.dir + "/comes.sock"}) {
		t.Errorf("listeners are %q, want %q", st.Listeners, want)
	}
	pids := workerPIDs(st)
	if now := descriptors(t, pids[len(pids)-1])[3]; now != kept {
		t.Errorf("the address that stays has %s, want the same socket %s", now, kept)
	}
	s.mustGet("/pid")
	if c, err := net.Dial("tcp", comes); err != nil {
		t.Errorf("the new address: %v", err)
	} else {
		c.Close()
	}
	s.gone("goes.sock")
	// Until the last old worker has drained it may hold the old socket.
	eventually(t, "nobody listens at the old address", func() bool {
		c, err := net.Dial("tcp", goes)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// Whatever is wrong with the new configuration or the new application, the old
// one goes on as if nothing had been asked.
func TestReloadThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // after the subtests
	for _, tt := range []struct {
		name   string
		spoil  func(s *server)
		reason string // in status
		next   int    // generation: the number of one that booted is not used again
	}{
		{"app exits at boot", func(s *server) { writeFile(t, s.path("app"), "exit 9") }, "code 9", 3},
		{"app fails to load", func(s *server) { writeFile(t, s.path("app"), "exit 4") }, "app failed to load", 3},
		{"one worker of two exits at boot", func(s *server) { writeFile(t, s.path("app"), "exit 3 2") }, "slot 2", 3},
		{"app is not ready in time", func(s *server) { writeFile(t, s.path("app"), "hang") }, "boot_timeout", 3},
		{"file is broken", func(s *server) { s.edit("count = 2", "count = 2\nnonsense = 1") }, "nonsense", 2},
		{"file is gone", func(s *server) { s.rename(s.file, s.file+".away") }, "app.toml", 2},
		{"program is not there", func(s *server) { s.edit(`"app", `, `"no-such-role", `) }, "slot", 3},
		{"address is taken", func(s *server) {
			s.edit(`bind = [`, fmt.Sprintf(`bind = [%q, %q, `, "unix:"+s.dir+"/new.sock", taken.Addr()))
		}, "address already in use", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, appWorkers(2, `boot_timeout = "4s"`)+`
[companion.beside]
command = ["@TEST", "exclusive", "@DIR/beside"]
env = { VERSION = "one" }
startsecs = "0s"
`)
			before := s.ready()
			config := readFile(t, s.file)
			s.edit(`VERSION = "one"`, `VERSION = "two"`)
			tt.spoil(s)
			m := s.mark()
			failed := s.reload()
			if failed.Event != "reload.failed" || failed.Level != "ERROR" {
				t.Fatalf("want reload.failed at level error, got %v", failed)
			}
			after := s.awaitStatus("what had been started has ended", func(st control.Status) bool { return len(st.Workers.List) == 2 })
			if fmt.Sprint(workerPIDs(after)) != fmt.Sprint(workerPIDs(before)) || after.Generation != 1 || after.State != "running" {
				t.Errorf("status is %+v, want the workers %v of generation 1", after, workerPIDs(before))
			}
			if r := after.LastReload; r == nil || r.OK || !strings.Contains(r.Error, tt.reason) {
				t.Errorf("the last reload is %+v, want an error with %q", r, tt.reason)
			}
			if a, b := companion(t, after, "beside"), companion(t, before, "beside"); a.PID != b.PID || a.Hash != b.Hash {
				t.Errorf("the companion is %+v, want it untouched: %+v", a, b)
			}
			if !slices.Equal(after.Listeners, before.Listeners) {
				t.Errorf("listeners are %q, want %q", after.Listeners, before.Listeners)
			}
			s.gone("new.sock")
			for _, r := range s.journal.since(m, is("worker.exited", "generation", 1)) {
				t.Errorf("a worker of the old generation ended: %v", r)
			}
			s.mustGet("/pid")

			// Mended, the next reload does all of it.
			writeFile(t, s.path("app"), "good")
			writeFile(t, s.file, strings.ReplaceAll(config, `VERSION = "one"`, `VERSION = "two"`))
			s.mustReload()
			st := s.look()
			if st.Generation != tt.next || !st.LastReload.OK || companion(t, st, "beside").Hash == companion(t, before, "beside").Hash {
				t.Errorf("status is %+v, want generation %d and a changed companion", st, tt.next)
			}
			s.mustGet("/pid")
		})
	}
}

func (s *server) rename(from, to string) {
	s.t.Helper()
	if err := os.Rename(from, to); err != nil {
		s.t.Fatal(err)
	}
}

func TestReloadCommandSaysHowItWent(t *testing.T) {
	t.Parallel()
	s := start(t, appWorkers(1))
	s.ready()
	s.must("reload")
	writeFile(t, s.path("app"), "exit 4")
	if res := s.run("reload"); res.code != 1 || !strings.Contains(res.stderr+res.stdout, "app failed to load") {
		t.Errorf("exit code %d, printed %q %q; want 1 and the reason", res.code, res.stdout, res.stderr)
	}
}

// With max_surge below the count workers are replaced a few at a time: never
// more than the surge above the count, never fewer ready ones than the count.
func TestMaxSurgeBoundsWhatAReloadStarts(t *testing.T) {
	t.Parallel()
	const count, surge = 4, 1
	s := start(t, httpWorkers(count, fmt.Sprintf("max_surge = %d", surge)))
	s.ready()
	m := s.mark()
	s.mustReload()
	s.awaitStatus("the old ones are gone", func(st control.Status) bool { return len(st.Workers.List) == count })
	live, ready := count, count
	for _, r := range s.journal.since(m, either("worker.started", "worker.ready", "worker.draining", "worker.exited")) {
		switch r.Event {
		case "worker.started":
			live++
		case "worker.ready":
			ready++
		case "worker.draining":
			ready--
		case "worker.exited":
			live--
		}
		if live > count+surge || ready < count {
			t.Errorf("%d live and %d ready workers, want %d at most and %d at least, after %v", live, ready, count+surge, count, r)
		}
	}
}

func TestReloadThatFailsHalfWayKeepsBothGenerations(t *testing.T) {
	t.Parallel()
	s := start(t, appWorkers(3, `max_surge = 1`))
	before := workerPIDs(s.ready())
	writeFile(t, s.path("app"), "exit 9 2") // slot 1 boots, 2 does not
	if failed := s.reload(); failed.Event != "reload.failed" {
		t.Fatalf("want reload.failed, got %v", failed)
	}
	if said := s.look().LastReload.Error; !strings.HasSuffix(said, "; generation 1 goes on serving, beside 1 worker of generation 2") {
		t.Errorf("the result does not tell of both: %s", said)
	}
	st := s.awaitStatus("three workers are left", func(st control.Status) bool { return len(st.Workers.List) == 3 })
	generations := map[int]int{}
	for _, w := range st.Workers.List {
		generations[w.Slot] = w.Generation
	}
	if fmt.Sprint(generations) != "map[1:2 2:1 3:1]" || st.Workers.Ready != 3 || st.Generation != 1 {
		t.Errorf("status is %+v, want slot 1 of generation 2 beside 2 and 3 of generation 1", st)
	}
	if now := workerPIDs(st); fmt.Sprint(now[1:]) != fmt.Sprint(before[1:]) {
		t.Errorf("slots 2 and 3 have %v, want %v", now[1:], before[1:])
	}
	// Each slot restarts under its own generation's settings.
	kill(t, mustLookup(t, workerPIDs(st)[0]), syscall.SIGKILL)
	s.awaitStatus("slot 1 is back", func(n control.Status) bool {
		return n.Workers.Ready == 3 && n.Workers.List[0].PID != st.Workers.List[0].PID && n.Workers.List[0].Generation == 2
	})
}

// The loop waits for nothing: whatever comes during a reload is handled at once.
func TestEverythingIsHandledAtOnceDuringAReload(t *testing.T) {
	t.Parallel()
	s := start(t, appWorkers(2, `boot_timeout = "60s"`))
	before := workerPIDs(s.ready())
	s.hangingReload()

	asked := time.Now()
	if st := s.look(); st.State != "reloading" {
		t.Errorf("the state is %q, want reloading", st.State)
	}
	if took := time.Since(asked); took > slack {
		t.Errorf("the status took %s", took)
	}

	writeFile(t, s.path("app"), "good")
	m := s.mark()
	kill(t, mustLookup(t, before[0]), syscall.SIGKILL)
	exited := s.awaitSince(m, "worker.exited", "pid", before[0])
	started := s.awaitSince(m, "worker.started", "slot", 1, "generation", 1)
	if waited := started.At.Sub(exited.At); waited > time.Second {
		t.Errorf("a crashed worker was replaced after %s, want at once", waited)
	}
	s.awaitSince(m, "worker.ready", "slot", 1, "generation", 1)
	s.mustGet("/pid")

	m = s.mark()
	s.signal(syscall.SIGTTIN)
	s.awaitSince(m, "workers.scaled", "new", 3)

	s.signal(syscall.SIGTERM)
	s.ends(slack)
}

// However many ask for a reload while one runs, one more follows.
func TestReloadsAskedForDuringAReloadAreDoneOnce(t *testing.T) {
	t.Parallel()
	s := start(t, appWorkers(1, `boot_timeout = "2s"`))
	s.ready()
	m := s.hangingReload()
	writeFile(t, s.path("app"), "good")
	for range 3 {
		n := len(s.journal.since(m, is("server.signal", "signal", "SIGHUP")))
		s.signal(syscall.SIGHUP)
		eventually(t, "the signal was taken", func() bool {
			return len(s.journal.since(m, is("server.signal", "signal", "SIGHUP"))) > n
		})
	}
	s.awaitSince(m, "reload.failed")
	s.awaitSince(m, "reload.done")
	s.awaitStatus("it is idle", func(st control.Status) bool { return st.State == "running" })
	if n := len(s.journal.since(m, is("reload.started"))); n != 2 {
		t.Errorf("%d reloads, want 2: the first, and one for all that came meanwhile", n)
	}
}

func TestScalingHoldsUntilTheFilesCountChanges(t *testing.T) {
	t.Parallel()
	s := start(t, httpWorkers(1))
	s.ready()
	m := s.mark()
	s.signal(syscall.SIGTTIN)
	s.awaitSince(m, "workers.scaled", "old", 1, "new", 2)
	var scaled control.Workers
	if err := json.Unmarshal([]byte(s.must("scale", "+1", "--json")), &scaled); err != nil || scaled.Configured != 3 || scaled.List[0].RSSBytes == 0 {
		t.Errorf("scale answers %+v (%v), want 3 workers, with the memory of those that serve", scaled, err)
	}
	s.awaitStatus("three workers are ready", func(st control.Status) bool { return st.Workers.Ready == 3 })
	s.mustReload()
	if st := s.look(); st.Workers.Configured != 3 || st.Workers.Ready != 3 {
		t.Errorf("after a reload %d of %d workers are ready, want the 3 that were scaled to", st.Workers.Ready, st.Workers.Configured)
	}
	s.edit("count = 1", "count = 2")
	s.mustReload()
	s.awaitStatus("the file's count holds", func(st control.Status) bool {
		return st.Workers.Configured == 2 && len(st.Workers.List) == 2
	})
}

func TestScalingDownStopsAtOneWorker(t *testing.T) {
	t.Parallel()
	s := start(t, httpWorkers(2))
	s.ready()
	for range 3 {
		m := s.mark()
		s.signal(syscall.SIGTTOU)
		s.awaitSince(m, "server.signal", "signal", "SIGTTOU")
	}
	s.awaitStatus("one worker is left", func(st control.Status) bool { return len(st.Workers.List) == 1 })
	if st := s.look(); st.Workers.Configured != 1 || st.Workers.Ready != 1 {
		t.Errorf("workers are %+v, want one", st.Workers)
	}
	if res := s.run("scale", "0"); res.code == 0 {
		t.Error("scale 0 was accepted")
	}
	s.mustGet("/pid")
}

// Many workers that boot at the same moment take the processors from those who
// serve: after a burst they start one by one.
func TestManyWorkersAreSpacedOut(t *testing.T) {
	t.Parallel()
	const count, burst = 24, 8
	s := start(t, fmt.Sprintf(`
[worker]
command = ["sleep", "1000"]
count = %d
ready = "alive"
ready_after = "10ms"
`, count))
	s.ready()
	bound, started := s.await("server.listening"), s.journal.all(is("worker.started"))
	if len(started) != count {
		t.Fatalf("%d workers were started, want %d", len(started), count)
	}
	for i := burst; i < count; i++ {
		least := time.Duration(i-burst+1) * 25 * time.Millisecond
		if after := started[i].At.Sub(bound.At); after < least-5*time.Millisecond {
			t.Errorf("worker %d started %s after gofork, want %s at least", i+1, after, least)
		}
	}
}

func TestReloadWarnsOfWhatIsNew(t *testing.T) {
	t.Parallel()
	s := start(t, "[companion.job]\ncommand = [\"sleep\", \"1000\"]\nstartsecs = \"0s\"\nstop_timeout = \"20s\"\n\n[server]\ndeclared_grace = \"40s\"\n")
	s.ready()
	tooLong := func(r record) bool { return r.Level == "WARN" && strings.Contains(r.Msg, "server.declared_grace") }
	if n := len(s.journal.all(tooLong)); n != 0 {
		t.Fatalf("%d warnings of a stop that is short enough", n)
	}
	s.edit(`"20s"`, `"50s"`)
	for range 2 { // the second time it is known
		s.mustReload()
	}
	if n := len(s.journal.all(tooLong)); n != 1 {
		t.Errorf("%d warnings that a stop may take longer than declared, want 1", n)
	}
}
