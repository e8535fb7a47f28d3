package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is what /proc/PID/stat says of a process; see proc_pid_stat(5).
type process struct {
	pid     int
	parent  int
	group   int
	dead    bool   // a zombie: it has ended and waits for its parent
	started uint64 // clock ticks after boot
}

// readProcess reports ok = false for a process that does not exist.
func readProcess(pid int) (p process, ok bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, false
	}
	return parseStat(stat)
}

// parseStat reads "PID (NAME) STATE PPID PGRP …". NAME may hold anything, blanks
// and parentheses too, so the fields are counted from the last parenthesis on.
func parseStat(stat []byte) (p process, ok bool) {
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 1 || end < open {
		return process{}, false
	}
	const state, ppid, pgrp, threads, start = 0, 1, 2, 17, 19 // after NAME
	fields := bytes.Fields(stat[end+1:])
	if len(fields) <= start {
		return process{}, false
	}
	var err [5]error
	p.pid, err[0] = strconv.Atoi(string(bytes.TrimSpace(stat[:open])))
	p.parent, err[1] = strconv.Atoi(string(fields[ppid]))
	p.group, err[2] = strconv.Atoi(string(fields[pgrp]))
	p.started, err[3] = strconv.ParseUint(string(fields[start]), 10, 64)
	n, err4 := strconv.Atoi(string(fields[threads]))
	err[4] = err4
	// A process whose main thread ended shows Z while its other threads run on.
	p.dead = bytes.ContainsAny(fields[state], "ZXx") && n <= 1
	return p, errors.Join(err[:]...) == nil
}

// processes reads them all, in the order of their pids. One that ends meanwhile
// may be missing; one that lives throughout is not.
func processes() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	names, _ := dir.Readdirnames(-1)
	dir.Close()
	var all []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid); ok {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b process) int { return a.pid - b.pid })
	return all
}

// liveMembers returns the living members of the wanted groups. A group of which
// only dead members were seen has an empty entry, one of which none was seen none.
//
// A dead child of ours counts as living until it is reaped: the next Sweep does
// that, and so a group is never reported gone before its adopted leader's exit.
func liveMembers(wanted map[int]bool) map[int][]process {
	self := os.Getpid()
	members := make(map[int][]process)
	for _, p := range processes() {
		if !wanted[p.group] {
			continue
		}
		list := members[p.group]
		if !p.dead || p.parent == self {
			list = append(list, p)
		}
		members[p.group] = list
	}
	return members
}

func parentOf(pid int) int {
	p, _ := readProcess(pid)
	return p.parent
}

// childless says that this process has no child, not even one to be reaped: then
// there is nobody below it, and no need to look at every process of the machine.
func childless() bool {
	return errors.Is(unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil), unix.ECHILD)
}

// Descendants implements [System].
func (t *Table) Descendants() []int {
	if childless() {
		return nil
	}
	children := make(map[int][]process)
	for _, p := range processes() {
		children[p.parent] = append(children[p.parent], p)
	}
	var found []int
	for below := []int{os.Getpid()}; len(below) > 0; {
		parent := below[0]
		below = below[1:]
		for _, p := range children[parent] {
			if t.spared[p.pid] {
				continue
			}
			below = append(below, p.pid)
			if !p.dead {
				found = append(found, p.pid)
			}
		}
	}
	return found
}

// RSS implements [System].
func (t *Table) RSS(pid int) (int64, error) {
	statm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0, fmt.Errorf("cannot read the memory of process %d: %w", pid, reason(err))
	}
	fields := bytes.Fields(statm) // size resident shared … in pages
	if len(fields) < 2 {
		return 0, fmt.Errorf("cannot read the memory of process %d: malformed statm %q", pid, statm)
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read the memory of process %d: %w", pid, err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// Alive says whether the process exists and has not ended: a zombie is not alive.
func Alive(pid int) bool {
	p, ok := readProcess(pid)
	return ok && !p.dead
}

// StartTime identifies a process together with its pid, which alone may be
// reused: clock ticks after boot, as proc_pid_stat(5) counts them.
func StartTime(pid int) (uint64, error) {
	p, ok := readProcess(pid)
	if !ok {
		return 0, fmt.Errorf("cannot read the start time of process %d: %w", pid, ErrGone)
	}
	return p.started, nil
}

func maxRSS(usage *syscall.Rusage) int64 {
	return int64(usage.Maxrss) * 1024 //nolint:unconvert // an int32 on platforms of 32 bits
}
