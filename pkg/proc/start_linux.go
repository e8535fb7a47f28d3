package proc

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

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

// needsFork says whether the child needs what package syscall cannot give it.
func needsFork(c Command) bool {
	return c.ListenPID || c.NoNewPrivs || c.Umask != InheritUmask || c.Nice != 0 || c.OOMScoreAdj != 0 || len(c.Rlimits) > 0
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
