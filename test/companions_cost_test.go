//go:build linux

package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cpuTime is what the threads of a process have used, see proc_pid_stat(5).
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	var ticks int64
	for _, i := range []int{11, 12} { // utime, stime
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
}

// switches is how often the threads of a process were given a processor.
func switches(t testing.TB, pids ...int) (sum int) {
	t.Helper()
	for _, pid := range pids {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		if err != nil || len(files) == 0 {
			t.Fatalf("process %d has no threads: %v", pid, err)
		}
		for _, file := range files {
			for line := range strings.Lines(tryRead(file)) {
				if key, value, _ := strings.Cut(line, ":"); strings.HasSuffix(key, "voluntary_ctxt_switches") {
					n, err := strconv.Atoi(strings.TrimSpace(value))
					if err != nil {
						t.Fatal(err)
					}
					sum += n
				}
			}
		}
	}
	return sum
}

// awaitRunning waits for so many companions by the log alone: to ask for the
// status would be work for what is measured.
func (s *server) awaitRunning(n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d companions run", n), func() bool {
		return len(s.journal.all(is("companion.running"))) >= n
	})
}

// quiet waits until neither arbiter nor manager has run for a second.
func quiet(t testing.TB, pids ...int) {
	t.Helper()
	seen, since := switches(t, pids...), time.Now()
	eventually(t, "arbiter and manager have nothing left to do", func() bool {
		if now := switches(t, pids...); now != seen {
			seen, since = now, time.Now()
		}
		return time.Since(since) > time.Second
	})
}

// A reload of a thousand that changes one is one restart, and costs little.
func TestReloadOfAThousandCompanionsCostsLittle(t *testing.T) {
	t.Parallel()
	const count = 1000
	var config strings.Builder
	config.WriteString("[log]\nlevel = \"info\"\n[companion_defaults]\nstartsecs = \"0s\"\n")
	for n := range count {
		fmt.Fprintf(&config, "[companion.c%03d]\ncommand = [\"sleep\", \"%d\"]\n", n, 10000+n)
	}
	s := start(t, config.String())
	s.awaitRunning(count)
	before := s.look()
	s.edit("10500", "20500")
	pids := []int{s.pid(), before.Manager.PID}
	quiet(t, pids...)
	used := func() time.Duration { return cpuTime(t, pids[0]) + cpuTime(t, pids[1]) }

	m, first := s.mark(), used()
	s.mustReload()
	cost := used() - first
	limit := 200 * time.Millisecond
	if raceEnabled {
		limit *= 3
	}
	t.Logf("the reload of %d companions with one changed took %s of arbiter and manager", count, cost)
	if cost > limit {
		t.Errorf("the reload took %s of processor time, want %s at most", cost, limit)
	}
	if n := len(s.journal.since(m, is("companion.started"))); n != 1 || s.startsSince(m, "c500") != 1 {
		t.Errorf("%d companions were started, want c500 alone", n)
	}
	old, now := pidsByID(before), pidsByID(s.look())
	for id, pid := range old {
		if (now[id] != pid) != (id == "c500") {
			t.Errorf("%s had pid %d, has %d", id, pid, now[id])
		}
	}
}

// What has nothing to do does nothing: no thread of arbiter and manager runs.
func TestIdleSupervisorsDoNotWake(t *testing.T) {
	t.Parallel()
	const count = 200
	s := start(t, fmt.Sprintf(`
[log]
level = "info"
[companion.many]
command = ["sleep", "1000"]
numprocs = %d
startsecs = "0s"
`, count))
	s.awaitRunning(count)
	// Nor is the status asked for: the runtime wakes once more when the clocks of a
	// connection would have run out.
	pids := []int{s.pid(), s.await("manager.started").pid()}
	quiet(t, pids...)
	before := switches(t, pids...)
	idle := time.NewTimer(5 * time.Second)
	defer idle.Stop()
	<-idle.C
	if n := switches(t, pids...) - before; n != 0 {
		t.Errorf("the threads of arbiter and manager ran %d times in 5 s with nothing to do", n)
	}
}
