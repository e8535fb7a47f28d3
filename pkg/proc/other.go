//go:build !linux

package proc

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Without /proc and prctl a table starts, signals and reaps its own children.
// What it cannot do says so; a group counts as alive while kill(2) finds a member.

// start knows the umask alone of what [syscall.ForkExec] cannot do. It is the
// process's: it is set here and restored, and a file that another goroutine
// creates meanwhile gets the child's.
func start(c Command, argv []string, files []uintptr) (int, error) {
	if c.ListenPID || c.NoNewPrivs || c.Nice != 0 || c.OOMScoreAdj != 0 || len(c.Rlimits) > 0 || c.ParentDeathSignal != 0 {
		return 0, fmt.Errorf("cannot set LISTEN_PID, no_new_privs, nice, oom_score_adj, rlimits or a parent death signal: %w", ErrUnsupported)
	}
	if c.Umask != InheritUmask {
		defer syscall.Umask(syscall.Umask(c.Umask))
	}
	attr := &syscall.SysProcAttr{Setpgid: true}
	if id := c.Credential; id != nil {
		attr.Credential = &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}
	}
	pid, err := syscall.ForkExec(c.Path, argv, &syscall.ProcAttr{Dir: c.Dir, Env: c.Env, Files: files, Sys: attr})
	if err != nil && c.Dir != "" {
		// chdir and execve fail alike; only a look can tell them apart.
		if info, statErr := os.Stat(c.Dir); statErr != nil || !info.IsDir() {
			return 0, fmt.Errorf("cannot enter directory %s: %w", c.Dir, err)
		}
	}
	if id := c.Credential; id != nil && errors.Is(err, syscall.EPERM) {
		return 0, fmt.Errorf("cannot become user %d, group %d: %w", id.UID, id.GID, err)
	}
	return pid, err
}

type process struct{ pid, parent int }

type memberWatch struct{}

func (*memberWatch) close() {}

func (t *Table) follow(map[int]bool) {}

func liveMembers(map[int]bool) map[int][]process { return nil }

func parentOf(int) int { return 0 }

func unignoreSignals() error { return nil }

// closeInheritedOnExec relies on parents that mark their descriptors themselves.
func closeInheritedOnExec() {}

// Descendants implements [System]; without /proc it knows the children only.
func (t *Table) Descendants() []int {
	pids := make([]int, 0, len(t.children))
	for pid := range t.children {
		if t.spared[pid] {
			continue
		}
		pids = append(pids, pid)
	}
	return pids
}

// RSS implements [System].
func (t *Table) RSS(pid int) (int64, error) {
	return 0, fmt.Errorf("cannot read the memory of process %d: %w", pid, ErrUnsupported)
}

// Alive says whether the process exists; here a zombie counts as alive.
func Alive(pid int) bool {
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}

// StartTime identifies a process together with its pid.
func StartTime(pid int) (uint64, error) {
	return 0, fmt.Errorf("cannot read the start time of process %d: %w", pid, ErrUnsupported)
}

// SetSubreaper makes this process adopt every descendant whose parent dies.
func SetSubreaper() error {
	return fmt.Errorf("cannot become the subreaper: %w", ErrUnsupported)
}

func maxRSS(usage *syscall.Rusage) int64 { return int64(usage.Maxrss) } // bytes here
