//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// When the system has no process left for a replacement, it comes later; nobody
// else ends meanwhile.
func TestReplacementsComeWhenForkingWorksAgain(t *testing.T) {
	for _, way := range []struct {
		name   string
		forbid func(r *run, pid int) (allow func(), err error)
	}{
		{"rlimit", (*run).forbidByLimit},
		{"pids cgroup", (*run).forbidByCgroup},
	} {
		t.Run(way.name, func(t *testing.T) {
			r := newRun(t, seed(t))
			ctx, leave := context.WithCancel(context.Background())
			defer leave()
			clients := r.arrive(ctx, 4)
			for _, c := range []struct {
				what       string
				supervisor func() int
				victim     func() int
				failed     string // the event of a start that failed
			}{
				{"worker", r.master, r.aWorker, "worker.exited"},
				{"companion", r.aManager, func() int { return r.companion("guard") }, "companion.exited guard"},
				{"manager", r.master, r.aManager, "manager.exited"},
			} {
				r.history.add("no process for another %s", c.what)
				r.spoil(1)
				allow, err := way.forbid(r, c.supervisor())
				if errors.Is(err, errors.ErrUnsupported) {
					t.Skip(err)
				}
				if err != nil {
					t.Fatal(err)
				}
				before := r.history.count(c.failed)
				r.kill(c.victim())
				// Its own end, and a start that failed: else nothing was forbidden.
				r.within(10*time.Second, "a start of another "+c.what+" fails", func() bool { return r.history.count(c.failed) >= before+2 })
				pause(r.between(time.Second, 1500*time.Millisecond)) // Go tries for a fifth of a second to make a thread
				allow()
				if _, err := r.quiet(baseConfig()); err != nil {
					r.fault("%v", err)
				}
				r.spoil(-1)
				if r.failed() {
					break
				}
			}
			leave()
			clients.wg.Wait()
			if !r.failed() {
				r.finish()
			}
		})
	}
}

// forbidByLimit lets one process start no other.
func (r *run) forbidByLimit(pid int) (allow func(), err error) {
	before, err := r.limit(pid, unix.RLIMIT_NPROC, 1)
	return func() {
		if _, err := r.limit(pid, unix.RLIMIT_NPROC, before); err != nil {
			r.t.Error(err)
		}
	}, err
}

// forbidByCgroup puts one process into a group that is full with it.
func (r *run) forbidByCgroup(pid int) (allow func(), err error) {
	home, err := pidsGroup()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(home, "chaos-")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	write := func(file string, value any) error { return os.WriteFile(file, fmt.Append(nil, value), 0) }
	allow = func() {
		// What was started meanwhile is in there, too.
		err := write(filepath.Join(dir, "pids.max"), "max")
		for range 1000 {
			inside, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			for _, pid := range strings.Fields(string(inside)) {
				// ESRCH: it has ended.
				_ = write(filepath.Join(home, "cgroup.procs"), pid)
			}
			if err = os.Remove(dir); err == nil {
				return
			}
			pause(time.Millisecond)
		}
		r.t.Error(err)
	}
	// A thread counts as a process; what is there is no more than what may be.
	err = errors.Join(write(filepath.Join(dir, "cgroup.procs"), pid), write(filepath.Join(dir, "pids.max"), 1))
	if err != nil {
		allow()
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return allow, nil
}

// pidsGroup is the directory of the group of this process that has the pids
// controller, of the first or the second version of control groups.
func pidsGroup() (string, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	for line := range strings.Lines(string(data)) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(line, ":")
		for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
			dir := filepath.Join(root, path)
			if controllers == "pids" && root != "/sys/fs/cgroup" || controllers == "" && root == "/sys/fs/cgroup" && hasPids(dir) {
				return dir, nil
			}
		}
	}
	return "", fmt.Errorf("%w: no control group with the pids controller", errors.ErrUnsupported)
}

// hasPids reports whether a group of version 2 gives the controller to groups below.
func hasPids(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	return err == nil && strings.Contains(string(data), "pids")
}
