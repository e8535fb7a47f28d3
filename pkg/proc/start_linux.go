package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/handoff/shim"
)

// self is the running executable, whatever became of its file: replaced,
// deleted, or out of the reach of the child's user.
const self = Self

func sysProcAttr(c Command) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Setpgid: true,
		// Set after the credentials, whose change would clear it.
		Pdeathsig: c.ParentDeathSignal,
	}
	if c.Credential != nil {
		attr.Credential = &syscall.Credential{
			Uid:    c.Credential.UID,
			Gid:    c.Credential.GID,
			Groups: c.Credential.Groups,
		}
	}
	return attr
}

// needsShim says whether the child needs what ForkExec cannot give it.
func needsShim(c Command) bool {
	return c.ListenPID || c.NoNewPrivs || needsGate(c)
}

// needsGate says whether something is done to the child from outside, with the
// supervisor's privileges, before the program may run.
func needsGate(c Command) bool {
	return c.Nice != 0 || c.OOMScoreAdj != 0 || len(c.Rlimits) > 0
}

// startShim starts this executable again, which becomes the program; see package
// shim for its half.
func startShim(c Command, argv []string, attr *syscall.ProcAttr) (int, error) {
	setting := shim.Setting{
		Path:       c.Path,
		Gate:       shim.NoGate,
		NoNewPrivs: c.NoNewPrivs,
		OwnPID:     c.ListenPID,
	}
	for _, l := range c.Rlimits {
		setting.Limits = append(setting.Limits, shim.Limit{Resource: l.Resource, Soft: l.Soft, Hard: l.Hard})
	}
	if !needsGate(c) {
		attr.Env = withSetting(c.Env, setting)
		return forkExec(self, argv, c.Umask, attr)
	}

	var gate [2]int // CLOEXEC: no other child holds an end
	if err := unix.Pipe2(gate[:], unix.O_CLOEXEC); err != nil {
		return 0, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer unix.Close(gate[1])
	setting.Gate = len(attr.Files)
	attr.Files = append(attr.Files, uintptr(gate[0]))
	attr.Env = withSetting(c.Env, setting)
	pid, err := forkExec(self, argv, c.Umask, attr)
	unix.Close(gate[0])
	if err != nil {
		return 0, err
	}
	err = adjust(pid, c)
	if err == nil {
		// One byte into an empty pipe never blocks. EPIPE: the child is dead
		// already, which Sweep reports as any other exit.
		if _, err = unix.Write(gate[1], []byte{shim.Open}); errors.Is(err, unix.EPIPE) {
			err = nil
		}
	}
	if err != nil {
		abandon(pid)
		return 0, err
	}
	return pid, nil
}

func withSetting(env []string, setting shim.Setting) []string {
	with := make([]string, 0, len(env)+1)
	with = append(with, env...)
	return append(with, shim.Variable+"="+setting.String())
}

// adjust does what takes the supervisor's privileges, which the child may have
// given up. Limits are only widened here, so that the shim can set them itself.
func adjust(pid int, c Command) error {
	for _, l := range c.Rlimits {
		// Ours are the child's. To read the child's would take CAP_SYS_RESOURCE when
		// it runs as another user, which a container's root does not have.
		var old unix.Rlimit
		if err := unix.Getrlimit(l.Resource, &old); err != nil {
			return fmt.Errorf("cannot read resource limit %s: %w", l.name(), err)
		}
		if l.Hard <= old.Max {
			continue
		}
		if err := unix.Prlimit(pid, l.Resource, &unix.Rlimit{Cur: old.Cur, Max: l.Hard}, nil); err != nil {
			return fmt.Errorf("cannot raise resource limit %s from %d to %d: %w", l.name(), old.Max, l.Hard, err)
		}
	}
	if c.Nice != 0 {
		// Of the shim's main thread, the one that execve leaves over.
		if err := unix.Setpriority(unix.PRIO_PROCESS, pid, c.Nice); err != nil {
			return fmt.Errorf("cannot set nice %d: %w", c.Nice, err)
		}
	}
	if c.OOMScoreAdj != 0 {
		path := "/proc/" + strconv.Itoa(pid) + "/oom_score_adj"
		if err := os.WriteFile(path, strconv.AppendInt(nil, int64(c.OOMScoreAdj), 10), 0); err != nil {
			return fmt.Errorf("cannot set oom_score_adj %d: %w", c.OOMScoreAdj, reason(err))
		}
	}
	return nil
}

func (l Rlimit) name() string {
	if l.Name != "" {
		return l.Name
	}
	return strconv.Itoa(l.Resource)
}

// abandon ends a shim that waits at its gate. It is no child of the table yet, and
// nobody sweeps meanwhile, so its exit is taken here.
func abandon(pid int) {
	_ = unix.Kill(pid, unix.SIGKILL)
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// closeInheritedOnExec keeps descriptors that this process was started with from
// its children, who get what [Command].Files names. An old kernel (before 5.11)
// cannot do it in one call.
func closeInheritedOnExec() {
	if unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// SetSubreaper makes this process adopt every descendant whose parent dies, with
// its real exit status, as PID 1 does anyway (PR_SET_CHILD_SUBREAPER).
func SetSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become the subreaper: %w", err)
	}
	return nil
}
