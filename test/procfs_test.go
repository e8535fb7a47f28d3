//go:build linux

package test

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// process is one line of /proc/PID/stat, see proc_pid_stat(5). Two with the
// same pid and start are the same process; a pid alone may have been reused.
type process struct {
	PID, PPID, PGID, Session int
	Comm                     string
	State                    byte   // 'Z' is a zombie: ended, not reaped
	Start                    uint64 // clock ticks after boot
}

func (p process) String() string {
	return fmt.Sprintf("pid %d (%s, state %c, parent %d, group %d)", p.PID, p.Comm, p.State, p.PPID, p.PGID)
}

// lookup reads the process with that pid; false when there is none.
func lookup(pid int) (process, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	// comm may hold spaces and parentheses: the fields begin after the last ')'.
	left, right := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	fields := strings.Fields(string(data[right+1:]))
	if left < 0 || right < 0 || len(fields) < 20 {
		return process{}, false
	}
	number := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n }
	start, _ := strconv.ParseUint(fields[19], 10, 64)
	return process{
		PID: pid, Comm: string(data[left+1 : right]), State: fields[0][0],
		PPID: number(1), PGID: number(2), Session: number(3), Start: start,
	}, true
}

// exists reports whether p is still in the process table, as a zombie too.
func (p process) exists() bool {
	now, ok := lookup(p.PID)
	return ok && now.Start == p.Start
}

// alive reports whether p still runs.
func (p process) alive() bool {
	now, ok := lookup(p.PID)
	return ok && now.Start == p.Start && now.State != 'Z' && now.State != 'X'
}

// processes returns the whole process table, by pid.
func processes() []process {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var all []process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if p, ok := lookup(pid); ok {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b process) int { return cmp.Compare(a.PID, b.PID) })
	return all
}

// marked returns the live processes whose environment carries the test's mark.
// A process that has ended has no environment any more, so no zombies.
func marked(id string) []process {
	return slices.DeleteFunc(processes(), func(p process) bool {
		return environ(p.PID)[markEnv] != id
	})
}

// childrenOf returns the processes whose parent is pid, zombies included.
func childrenOf(pid int) []process {
	return slices.DeleteFunc(processes(), func(p process) bool { return p.PPID != pid })
}

// environ returns the environment that pid was given when it was executed.
func environ(pid int) map[string]string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return nil
	}
	env := map[string]string{}
	for kv := range strings.SplitSeq(string(data), "\x00") {
		if key, value, ok := strings.Cut(kv, "="); ok {
			env[key] = value
		}
	}
	return env
}

// descriptors returns what each open file descriptor of pid points to.
func descriptors(t testing.TB, pid int) map[int]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	open := map[int]string{}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		open[fd] = target
	}
	return open
}

// settledDescriptors is descriptors of a program that has read what it reads at
// its start: libraries and locales are files that it opens by itself.
func settledDescriptors(t testing.TB, pid int) (open map[int]string) {
	t.Helper()
	eventually(t, fmt.Sprintf("process %d has read its own files", pid), func() bool {
		open = descriptors(t, pid)
		for _, target := range open {
			if strings.HasPrefix(target, "/usr/") || strings.HasPrefix(target, "/lib") || strings.HasPrefix(target, "/etc/") {
				return false
			}
		}
		return true
	})
	return open
}

// statusLine returns one field of /proc/PID/status, "" when it is not there.
func statusLine(pid int, key string) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// mustLookup is lookup for a process that has to be there.
func mustLookup(t testing.TB, pid int) process {
	t.Helper()
	p, ok := lookup(pid)
	if !ok {
		t.Fatalf("there is no process %d", pid)
	}
	return p
}

// kill sends a signal to exactly this process: through a pidfd, so that a pid
// that was reused meanwhile is not hit.
func kill(t testing.TB, p process, sig unix.Signal) {
	t.Helper()
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		t.Fatalf("cannot open %v: %v", p, err)
	}
	defer unix.Close(fd)
	if !p.exists() {
		t.Fatalf("%v is gone", p)
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil {
		t.Fatalf("cannot send %v to %v: %v", sig, p, err)
	}
}

// awaitEnd waits until none of the processes runs any more.
func awaitEnd(t testing.TB, within time.Duration, all ...process) {
	t.Helper()
	deadline := time.Now().Add(within)
	for _, p := range all {
		fd, err := unix.PidfdOpen(p.PID, 0)
		if err != nil {
			continue // gone
		}
		for p.alive() {
			left := time.Until(deadline)
			if left <= 0 {
				unix.Close(fd)
				t.Fatalf("%v still runs after %s", p, within)
			}
			// Readable means ended. An interrupted or late poll looks again.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		}
		unix.Close(fd)
	}
}

// eventually waits for a fact that announces itself nowhere, such as a line in
// /proc; it looks every few milliseconds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
