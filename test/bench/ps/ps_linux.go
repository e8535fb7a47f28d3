package ps

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Process is one line of /proc/PID/stat. Two with the same PID and Start are the
// same process; a pid alone may have been reused.
type Process struct {
	PID, PPID, PGID int
	Comm            string
	State           byte   // 'Z': ended and not reaped · 'T': stopped
	Start           uint64 // clock ticks after boot
}

func (p Process) String() string {
	return fmt.Sprintf("pid %d (%s, state %c, parent %d, group %d)", p.PID, p.Comm, p.State, p.PPID, p.PGID)
}

// Lookup reads the process with that pid; false when there is none.
func Lookup(pid int) (Process, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, false
	}
	// comm may hold spaces and parentheses: the fields begin after the last ')'.
	left, right := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if left < 0 || right < left {
		return Process{}, false
	}
	fields := strings.Fields(string(data[right+1:]))
	if len(fields) < 20 {
		return Process{}, false
	}
	number := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n }
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return Process{}, false
	}
	return Process{
		PID: pid, Comm: string(data[left+1 : right]), State: fields[0][0],
		PPID: number(1), PGID: number(2), Start: start,
	}, true
}

// Alive reports whether p still runs; a zombie does not.
func (p Process) Alive() bool {
	now, ok := Lookup(p.PID)
	return ok && now.Start == p.Start && now.State != 'Z' && now.State != 'X'
}

// All returns the process table.
func All() []Process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := Lookup(pid); ok {
			all = append(all, p)
		}
	}
	return all
}

// Tree returns the process with that pid and everything below it.
func Tree(root int) []Process {
	all := All()
	var tree []Process
	for _, p := range all {
		if p.PID == root {
			tree = append(tree, p)
		}
	}
	for i := 0; i < len(tree); i++ {
		for _, p := range all {
			if p.PPID == tree[i].PID {
				tree = append(tree, p)
			}
		}
	}
	return tree
}

// Children returns the processes whose parent is pid, zombies included.
func Children(pid int) []Process {
	return slices.DeleteFunc(All(), func(p Process) bool { return p.PPID != pid })
}

// Environ returns a variable of the environment that pid was executed with.
func Environ(pid int, key string) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return ""
	}
	for kv := range bytes.SplitSeq(data, []byte{0}) {
		if value, ok := bytes.CutPrefix(kv, []byte(key+"=")); ok {
			return string(value)
		}
	}
	return ""
}

// Proportional is the memory of a process in bytes, shared pages divided by who
// shares them (PSS).
func Proportional(pid int) (int64, error) {
	return kilobytes(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
}

// Anonymous is the part of Proportional that no file backs: heap and stacks.
func Anonymous(pid int) (int64, error) {
	return kilobytes(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss_Anon:")
}

// Resident is the memory of a process in bytes, shared pages counted whole (RSS).
func Resident(pid int) (int64, error) {
	return kilobytes(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
}

// Threads is how many threads a process has.
func Threads(pid int) (int, error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return len(tasks), err
}

// Descriptors returns what each open descriptor of a process points to.
func Descriptors(pid int) (map[int]string, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	open := make(map[int]string, len(entries))
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, err
		}
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		open[fd] = target
	}
	return open, nil
}

// Cost is what a process has used so far, all its threads together.
type Cost struct {
	CPU      time.Duration
	Switches int64 // context switches, voluntary and not
}

// CostOf sums the threads that a process has now; what a thread used that has
// ended is not in it.
func CostOf(pid int) (Cost, error) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return Cost{}, err
	}
	var sum Cost
	for _, t := range tasks {
		// The first number is the time on a processor in nanoseconds.
		data, err := os.ReadFile(filepath.Join(dir, t.Name(), "schedstat"))
		if err != nil {
			continue // ended meanwhile
		}
		ns, err := strconv.ParseInt(strings.Fields(string(data))[0], 10, 64)
		if err != nil {
			return sum, err
		}
		sum.CPU += time.Duration(ns)
		status, err := os.ReadFile(filepath.Join(dir, t.Name(), "status"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			key, value, _ := strings.Cut(line, ":")
			if strings.HasSuffix(key, "voluntary_ctxt_switches") { // nonvoluntary too
				n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				if err != nil {
					return sum, err
				}
				sum.Switches += n
			}
		}
	}
	return sum, nil
}

func kilobytes(path, key string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, key)
}
