package proc

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// ErrGone says that there is nobody to signal: the process was reaped already,
// or was never a child, or the group has no member left.
var ErrGone = errors.New("process is gone")

// ErrUnsupported says that the platform lacks what a Command asks for.
var ErrUnsupported = errors.New("not supported on this platform")

// Command is everything about one child to be. It always gets a process group
// of its own, default signal dispositions and an empty signal mask.
type Command struct {
	Path string   // the file to execute, already resolved: see [LookPath]
	Args []string // argv, the program's own name first; empty: {Path}
	Env  []string // the whole environment, nothing is added
	Dir  string   // working directory, "" = the supervisor's

	// Files are raw descriptors that become 0, 1, 2, 3 … in the child; -1 is
	// /dev/null, and so are 0 to 2 when they are not given. The child has no
	// others. They stay open here: the caller owns and closes them.
	Files []int

	Credential        *Credential // nil: the supervisor's own
	Umask             int         // InheritUmask: the supervisor's own
	NoNewPrivs        bool        // no_new_privs of prctl(2)
	Nice              int         // absolute, 0 = unchanged
	OOMScoreAdj       int         // -1000 … 1000, 0 = unchanged
	Rlimits           []Rlimit
	ParentDeathSignal syscall.Signal // sent when the supervisor dies; 0 = none

	// ListenPID makes the child see its own pid in LISTEN_PID, and in
	// WATCHDOG_PID when WATCHDOG_USEC is in Env.
	ListenPID bool
}

// InheritUmask is the Umask that changes nothing.
const InheritUmask = -1

// DevNull is the descriptor in Files that stands for /dev/null.
const DevNull = -1

// Credential is the user, group and supplementary groups of a child.
type Credential struct {
	UID    uint32
	GID    uint32
	Groups []uint32
}

// Rlimit is one resource limit as setrlimit(2) takes it; ^uint64(0) is unlimited.
type Rlimit struct {
	Name     string // for messages: "nofile"
	Resource int    // RLIMIT_* of this platform
	Soft     uint64
	Hard     uint64
}

// Exit is the end of one process, as wait4(2) tells it.
type Exit struct {
	PID        int
	Code       int            // exit status; -1 when a signal ended it
	Signal     syscall.Signal // 0 = exited by itself
	CoreDumped bool
	MaxRSS     int64         // bytes
	CPU        time.Duration // user and system, its own waited-for children included

	// GroupAlive says that members of the process group that it led live on. The
	// group is watched from then on and its end is reported in [Changes].Gone.
	GroupAlive bool
}

// Status is the exit status as a shell has it: the code, or 128 + the signal.
func (e Exit) Status() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// String says how it ended: "exited with code 1", "killed by SIGSEGV (core dumped)".
func (e Exit) String() string {
	switch {
	case e.Signal == 0:
		return fmt.Sprintf("exited with code %d", e.Code)
	case e.CoreDumped:
		return "killed by " + SignalName(e.Signal) + " (core dumped)"
	default:
		return "killed by " + SignalName(e.Signal)
	}
}

// Changes is what a Sweep found.
type Changes struct {
	Exits   []Exit // children started here, in the order in which they were reaped
	Orphans []Exit // children that were not: adopted as PID 1 or as a subreaper
	Gone    []int  // watched groups (pgid) whose last living member has ended
}

// Stray is an adopted process.
type Stray struct {
	PID   int
	Group int
	Env   []string // that it was started with, as far as it can be read
}

// System is what a supervisor's loop needs of the operating system. [*Table] is
// the real one, proctest.Fake the simulated one. All methods are called from one
// goroutine, locked to the main thread.
type System interface {
	// Start starts the child and returns its pid, which is its process group too.
	// An error means that there is no child and nothing to reap.
	Start(Command) (pid int, err error)

	// Signal sends to a child that has not been reaped; ErrGone otherwise.
	Signal(pid int, sig syscall.Signal) error

	// SignalGroup sends to every member of a group that is led by an unreaped
	// child or that is watched; ErrGone when it has no member, or is neither.
	SignalGroup(pgid int, sig syscall.Signal) error

	// Changed gets a value (capacity 1) when Sweep has something to find.
	Changed() <-chan struct{}

	// Sweep reaps every child that has ended and looks at the watched groups.
	// It never blocks.
	Sweep() Changes

	// Watch watches a group that is not led by a child of ours, such as a
	// companion of a killed manager, until it is reported in Changes.Gone.
	// When nobody of it lives it returns false and nothing is watched.
	Watch(pgid int) (alive bool)

	// Members returns every living process of the system by its process group: one
	// pass over all of them, for a message that names who survives.
	Members() map[int][]int

	// Descendants returns the pid of every live process below this one, for the
	// last sweep of all: they may have left every group that is known.
	Descendants() []int

	// KillDescendants sends SIGKILL to all of them and returns those that it
	// found alive: none is left when it returns none.
	KillDescendants() []int

	// Spare leaves a child, and everything below it, out of Descendants and so out
	// of KillDescendants: a younger supervisor that is to outlive this one.
	Spare(pid int)

	// Strays returns the living children that were not started here: what a dead
	// child left behind and this process adopted.
	Strays() []Stray

	// RSS returns the resident memory of a process in bytes.
	RSS(pid int) (int64, error)
}
