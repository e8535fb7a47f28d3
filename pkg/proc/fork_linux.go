package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/proc/nofile"
)

// plan is everything that a child does between fork and exec, ready to be done
// without the Go runtime: of which, in the child, one thread is left and no lock
// can be trusted. All memory is the parent's, who waits and then forgets the plan.
type plan struct {
	path       *byte
	argv, envp []*byte // both end with nil
	ownPID     []*byte // where in envp the child writes its pid, room for pidDigits and a 0

	failed *forked
	files  []int // that become 0, 1, 2 …; the child replaces them by duplicates
	parent int
	dir    *byte
	umask  int

	nice       int
	oomScore   []byte
	oomPath    *byte
	limits     []limit
	credential bool
	uid, gid   int
	groups     []uint32
	noNewPrivs bool
	deathSig   int
}

type limit struct {
	resource int
	value    unix.Rlimit
}

// pidDigits is more than a pid has.
const pidDigits = 10

// forked is what a child reports when it cannot become the program.
type forked struct {
	step  uint32
	index uint32 // of a limit
	errno uint32
}

// The steps of a child, in their order.
const (
	stepFiles uint32 = iota
	stepNice
	stepOOMScore
	stepLimit
	stepGroups
	stepGID
	stepUID
	stepNoNewPrivs
	stepDeathSignal
	stepDir
	stepExec
)

// shared is where a child says why it cannot become the program: memory that it
// shares with us even where the fork copies. Whoever holds [syscall.ForkLock] has
// it, and makes it.
var shared *forked

func share() error {
	if shared != nil {
		return nil
	}
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("cannot map a page: %w", err)
	}
	shared = (*forked)(unsafe.Pointer(&page[0]))
	return nil
}

// start starts a child. It does what [syscall.ForkExec] does, and what that cannot:
// among it, to tell the child its own pid.
func start(c Command, argv []string, files []uintptr) (pid int, err error) {
	p, err := planOf(c, argv, files)
	if err != nil {
		return 0, err
	}
	pid, said, err := p.fork()
	if err != nil {
		return 0, err
	}
	if said.errno == 0 {
		return pid, nil
	}
	// It is no child of the table yet, and nobody sweeps meanwhile.
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	return 0, c.failure(said)
}

// fork returns when the child is the program or has failed. Signals are blocked
// around it: a handler of Go must not run in the child, where there is no Go.
func (p *plan) fork() (pid int, said forked, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	syscall.ForkLock.Lock() // who opens a descriptor marks it before we fork
	defer syscall.ForkLock.Unlock()
	if err := share(); err != nil {
		return 0, forked{}, err
	}
	*shared, p.failed = forked{}, shared
	dumpable := 0
	if p.credential {
		dumpable, _ = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	}
	// Neither can fail: the arguments are right, and the second ones the kernel's own.
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old)
	pid, errno := p.run()
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	if dumpable == 1 {
		// A change of the user makes undumpable whoever shares the memory, and hides
		// its /proc/PID from those who are not root to the full.
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	}
	runtime.KeepAlive(p)
	if errno != 0 {
		return 0, forked{}, errno
	}
	return pid, *shared, nil
}

// run returns in the parent alone, and uses nothing there but what vfork returned:
// the child has run on this very frame. The child must not grow the stack, writes
// no pointer, calls nothing but system calls, and ends by execve or exit: the
// rules of forkAndExecInChild1 in package syscall, and their reason. No error of
// what is a courtesy only is looked at.
//
//go:noinline
//go:norace
//go:nosplit
func (p *plan) run() (pid int, errno syscall.Errno) {
	child, failed := vfork(cloneFlags)
	if failed != 0 || child != 0 {
		return int(child), syscall.Errno(failed)
	}

	var action [8]uint64 // struct sigaction of the kernel: zero is SIG_DFL, no flags, an empty mask
	own, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
	_, _, _ = syscall.RawSyscall(unix.SYS_SETPGID, 0, 0, 0)
	for sig := uintptr(1); sig <= 64; sig++ {
		_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
	if p.umask >= 0 {
		_, _, _ = syscall.RawSyscall(unix.SYS_UMASK, uintptr(p.umask), 0, 0)
	}

	// First out of the way of each other, then to their places, without the mark.
	p.failed.step = stepFiles
	for i := 0; i < len(p.files); i++ {
		var fd uintptr
		fd, _, errno = syscall.RawSyscall(unix.SYS_FCNTL, uintptr(p.files[i]), unix.F_DUPFD_CLOEXEC, uintptr(len(p.files)))
		if errno != 0 {
			goto fail
		}
		p.files[i] = int(fd)
	}
	for i := 0; i < len(p.files); i++ {
		if _, _, errno = syscall.RawSyscall(unix.SYS_DUP3, uintptr(p.files[i]), uintptr(i), 0); errno != 0 {
			goto fail
		}
	}

	// With the supervisor's privileges, before they are given up.
	if p.nice != 0 {
		if _, _, errno = syscall.RawSyscall(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uintptr(p.nice)); errno != 0 {
			p.failed.step = stepNice
			goto fail
		}
	}
	if p.oomPath != nil {
		p.failed.step = stepOOMScore
		var fd uintptr
		fd, _, errno = syscall.RawSyscall6(unix.SYS_OPENAT, atCWD, uintptr(unsafe.Pointer(p.oomPath)), unix.O_WRONLY|unix.O_CLOEXEC, 0, 0, 0)
		if errno != 0 {
			goto fail
		}
		if _, _, errno = syscall.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&p.oomScore[0])), uintptr(len(p.oomScore))); errno != 0 {
			goto fail
		}
		_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	}
	// Behind all that opens a descriptor: their number may be limited.
	for i := 0; i < len(p.limits); i++ {
		l := &p.limits[i]
		if _, _, errno = syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(l.resource), uintptr(unsafe.Pointer(&l.value)), 0, 0, 0); errno != 0 {
			p.failed.step, p.failed.index = stepLimit, uint32(i)
			goto fail
		}
	}
	if p.credential {
		var groups uintptr
		if len(p.groups) > 0 {
			groups = uintptr(unsafe.Pointer(&p.groups[0]))
		}
		if _, _, errno = syscall.RawSyscall(sysSetgroups, uintptr(len(p.groups)), groups, 0); errno != 0 {
			p.failed.step = stepGroups
			goto fail
		}
		if _, _, errno = syscall.RawSyscall(sysSetgid, uintptr(p.gid), 0, 0); errno != 0 {
			p.failed.step = stepGID
			goto fail
		}
		if _, _, errno = syscall.RawSyscall(sysSetuid, uintptr(p.uid), 0, 0); errno != 0 {
			p.failed.step = stepUID
			goto fail
		}
	}
	if p.noNewPrivs {
		if _, _, errno = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
			p.failed.step = stepNoNewPrivs
			goto fail
		}
	}
	if p.deathSig != 0 {
		// After the credentials, whose change clears it.
		if _, _, errno = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(p.deathSig), 0, 0, 0, 0); errno != 0 {
			p.failed.step = stepDeathSignal
			goto fail
		}
		// A parent that died before that sends nothing.
		if parent, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); int(parent) != p.parent {
			_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
		}
	}
	// As the user that the program runs as: who may not enter fails here.
	if p.dir != nil {
		if _, _, errno = syscall.RawSyscall(unix.SYS_CHDIR, uintptr(unsafe.Pointer(p.dir)), 0, 0); errno != 0 {
			p.failed.step = stepDir
			goto fail
		}
	}

	for i := 0; i < len(p.ownPID); i++ {
		n, rest := 0, own
		for ; rest > 0; rest /= 10 {
			n++
		}
		for rest = own; rest > 0; rest /= 10 {
			n--
			*(*byte)(unsafe.Add(unsafe.Pointer(p.ownPID[i]), n)) = byte('0' + rest%10)
		}
	}
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	p.failed.step = stepExec
	_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(p.path)),
		uintptr(unsafe.Pointer(&p.argv[0])), uintptr(unsafe.Pointer(&p.envp[0])))

fail:
	p.failed.errno = uint32(errno)
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
}

// atCWD is AT_FDCWD as a register holds it.
const atCWD = ^uintptr(99)

func planOf(c Command, argv []string, files []uintptr) (*plan, error) {
	p := &plan{
		parent: unix.Getpid(), umask: c.Umask, nice: c.Nice,
		noNewPrivs: c.NoNewPrivs, deathSig: int(c.ParentDeathSignal),
	}
	env := c.Env
	if c.ListenPID {
		env = withoutPIDs(env)
	}
	var err error
	if p.path, err = syscall.BytePtrFromString(c.Path); err != nil {
		return nil, err
	}
	if p.argv, err = syscall.SlicePtrFromStrings(argv); err != nil {
		return nil, err
	}
	if p.envp, err = syscall.SlicePtrFromStrings(env); err != nil {
		return nil, err
	}
	if c.ListenPID {
		p.giveOwnPID("LISTEN_PID=")
		if watched(env) {
			p.giveOwnPID("WATCHDOG_PID=")
		}
	}
	if c.Dir != "" {
		if p.dir, err = syscall.BytePtrFromString(c.Dir); err != nil {
			return nil, err
		}
	}
	if c.OOMScoreAdj != 0 {
		p.oomScore = strconv.AppendInt(nil, int64(c.OOMScoreAdj), 10)
		if p.oomPath, err = syscall.BytePtrFromString("/proc/self/oom_score_adj"); err != nil {
			return nil, err
		}
	}
	for _, l := range c.Rlimits {
		p.limits = append(p.limits, limit{l.Resource, unix.Rlimit{Cur: l.Soft, Max: l.Hard}})
	}
	if own, raised := raisedLimit(); raised && !slices.ContainsFunc(c.Rlimits, func(l Rlimit) bool { return l.Resource == unix.RLIMIT_NOFILE }) {
		p.limits = append(p.limits, own) // last: c.Rlimits has the same places
	}
	if id := c.Credential; id != nil {
		p.credential, p.uid, p.gid, p.groups = true, int(id.UID), int(id.GID), id.Groups
	}
	for _, fd := range files {
		p.files = append(p.files, int(fd))
	}
	return p, nil
}

// raisedLimit is the limit of open files that this process was started with, if Go
// has raised it since for itself. syscall.ForkExec gives it back, too.
func raisedLimit() (l limit, raised bool) {
	var now unix.Rlimit
	if nofile.AtStart.Hard == 0 || unix.Getrlimit(unix.RLIMIT_NOFILE, &now) != nil || now.Max != nofile.AtStart.Hard || now.Cur <= nofile.AtStart.Soft {
		return limit{}, false
	}
	return limit{unix.RLIMIT_NOFILE, unix.Rlimit{Cur: nofile.AtStart.Soft, Max: nofile.AtStart.Hard}}, true
}

// giveOwnPID adds a variable whose value the child writes.
func (p *plan) giveOwnPID(name string) {
	text := make([]byte, len(name)+pidDigits+1)
	copy(text, name)
	p.envp[len(p.envp)-1] = &text[0]
	p.envp = append(p.envp, nil)
	p.ownPID = append(p.ownPID, &text[len(name)])
}

// withoutPIDs leaves out what the child gets anew. Readers ignore what does not
// carry their own pid (sd_listen_fds(3), sd_watchdog_enabled(3)).
func withoutPIDs(env []string) []string {
	kept := make([]string, 0, len(env))
	for _, v := range env {
		if !strings.HasPrefix(v, "LISTEN_PID=") && !strings.HasPrefix(v, "WATCHDOG_PID=") {
			kept = append(kept, v)
		}
	}
	return kept
}

func watched(env []string) bool {
	for _, v := range env {
		if strings.HasPrefix(v, "WATCHDOG_USEC=") {
			return true
		}
	}
	return false
}

// failure says what a child could not do.
func (c *Command) failure(said forked) error {
	errno := syscall.Errno(said.errno)
	switch said.step {
	case stepNice:
		return fmt.Errorf("cannot set nice %d: %w", c.Nice, errno)
	case stepOOMScore:
		return fmt.Errorf("cannot set oom_score_adj %d: %w", c.OOMScoreAdj, errno)
	case stepLimit:
		if int(said.index) >= len(c.Rlimits) {
			return fmt.Errorf("cannot restore the limit of open files: %w", errno)
		}
		return c.limitFailure(c.Rlimits[said.index], errno)
	case stepGroups, stepGID, stepUID:
		return fmt.Errorf("cannot become user %d, group %d: %w", c.Credential.UID, c.Credential.GID, errno)
	case stepNoNewPrivs:
		return fmt.Errorf("cannot set no_new_privs: %w", errno)
	case stepDeathSignal:
		return fmt.Errorf("cannot set the parent death signal: %w", errno)
	case stepDir:
		return fmt.Errorf("cannot enter directory %s: %w", c.Dir, errno)
	case stepFiles:
		return fmt.Errorf("cannot hand over its descriptors: %w", errno)
	default:
		return errno
	}
}

func (c *Command) limitFailure(l Rlimit, errno syscall.Errno) error {
	var ours unix.Rlimit // the child's too, before it asked
	if err := unix.Getrlimit(l.Resource, &ours); err == nil && l.Hard > ours.Max {
		return fmt.Errorf("cannot raise resource limit %s from %d to %d: %w", l.name(), ours.Max, l.Hard, errno)
	}
	return fmt.Errorf("cannot set resource limit %s: %w", l.name(), errno)
}

func (l Rlimit) name() string {
	if l.Name != "" {
		return l.Name
	}
	return strconv.Itoa(l.Resource)
}
