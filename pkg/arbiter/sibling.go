package arbiter

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/handoff"
	"github.com/gofork/gofork/pkg/launch"
	"github.com/gofork/gofork/pkg/proc"
)

// siblingSuffix is behind the names of a new arbiter's pidfile and control socket
// until it is promoted.
const siblingSuffix = ".2"

// What an arbiter tells the one that it starts beside itself.
const (
	envParent = "GOFORK_PID"      // its own pid
	envReady  = "GOFORK_READY_FD" // a pipe: one byte says that the new one serves
	envLease  = "GOFORK_LEASE_FD" // a pipe: its end says that the old one and its manager are gone
	envCount  = "GOFORK_COUNT"    // workers that it was scaled to
	envFile   = "GOFORK_COUNT_OF" // the file's own count, of which it was scaled
)

// lease is a pipe that nobody writes to: its write end is held by an arbiter and
// its manager, so that its end is the end of both, however they ended.
type lease struct{ read, write int }

func newLease() (lease, error) {
	var p [2]int
	if err := pipeCloexec(&p); err != nil {
		return lease{-1, -1}, fmt.Errorf("cannot make a pipe: %w", err)
	}
	return lease{p[0], p[1]}, nil
}

func (s lease) close() {
	if s.write >= 0 {
		unix.Close(s.read)
		unix.Close(s.write)
	}
}

// Lineage is what this process was told by an older arbiter; zero when there is none.
type Lineage struct {
	Parent int // pid; 0 = none
	Ready  int // descriptor, -1 = none
	Lease  int

	// Count is what the older one was scaled to from its file's Of; 0 = it was not.
	// It holds unless the file has another count by now, as over a reload.
	Count, Of int
}

// LineageOf reads the environment of an arbiter. GOFORK_PID alone says nothing:
// every child of a gofork has it.
func LineageOf(environ []string) Lineage {
	l := Lineage{Ready: -1, Lease: -1}
	values := map[string]int{}
	handed := false
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		handed = handed || name == "GOFORK_FD" && value != ""
		if n, err := strconv.Atoi(value); err == nil {
			values[name] = n
		}
	}
	lease, leased := values[envLease]
	if parent := values[envParent]; parent <= 0 || !leased && !handed || !proc.Alive(parent) {
		return l
	}
	l.Parent = values[envParent]
	if leased {
		l.Lease = lease
	}
	if ready, ok := values[envReady]; ok {
		l.Ready = ready
	}
	l.Count, l.Of = values[envCount], values[envFile]
	return l
}

// suffix is what this arbiter puts behind its names.
func (l *loop) suffix() string {
	if l.Lineage.Parent != 0 {
		return siblingSuffix
	}
	return ""
}

// startUpgrade asks the hook pre_exec, beside the loop, and then starts the new
// arbiter.
func (l *loop) startUpgrade() {
	begin := func(err error) {
		if err == nil && l.core.stop.sent {
			err = errors.New("gofork is stopping") // it would start without sockets
		}
		if err != nil {
			l.step(upgradeStarted{err: err.Error()})
			return
		}
		pid, err := l.spawnArbiter()
		if err != nil {
			l.step(upgradeStarted{err: err.Error()})
			return
		}
		l.child = pid
		l.step(upgradeStarted{pid: pid})
	}
	if len(l.config().Hooks.Commands["pre_exec"]) == 0 {
		begin(nil)
		return
	}
	l.queueHook("pre_exec", nil, begin)
}

// spawnArbiter starts the binary that is there now, with the arguments and the
// environment that this one was started with, on the same sockets.
func (l *loop) spawnArbiter() (pid int, err error) {
	var ready [2]int
	if err := pipeCloexec(&ready); err != nil {
		return 0, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer unix.Close(ready[1])
	command := proc.Command{
		Path: l.Binary, Args: l.Args, Dir: l.Dir, Umask: proc.InheritUmask,
		Files: []int{unix.Stdin, unix.Stdout, unix.Stderr},
	}
	var fds []int
	var names []string
	for _, s := range l.sockets.all(l.core.generation.number) {
		fds = append(fds, handoff.FirstFD+len(fds))
		names = append(names, s.Name())
		command.Files = append(command.Files, s.FD())
	}
	env := withoutHandover(l.Environ)
	if l.sockets.inherited {
		env = append(env, handoff.ListenEnv(len(fds), names)...)
		command.ListenPID = true
	} else if len(fds) > 0 {
		env = append(env, handoff.GoforkEnv(fds, names)...)
	}
	env = append(env, envParent+"="+strconv.Itoa(l.PID),
		envReady+"="+strconv.Itoa(len(command.Files)), envLease+"="+strconv.Itoa(len(command.Files)+1))
	if c := l.core; c.config.Worker != nil && c.count > 0 && c.count != c.config.Worker.Count {
		env = append(env, envCount+"="+strconv.Itoa(c.count), envFile+"="+strconv.Itoa(c.config.Worker.Count))
	}
	command.Files = append(command.Files, ready[1], l.lease.read)
	command.Env = env
	if pid, err = l.System.Start(command); err != nil {
		unix.Close(ready[0])
		return 0, fmt.Errorf("cannot start the new arbiter: %s", launch.FailureReason([]string{l.Binary}, err))
	}
	l.System.Spare(pid)
	l.watchPipe(ready[0], func(said bool) {
		if said {
			l.step(upgradeReady{})
		}
	})
	return pid, nil
}

// withoutHandover is an environment without what one arbiter tells another.
func withoutHandover(environ []string) []string {
	var kept []string
	for _, kv := range environ {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "GOFORK_FD", "GOFORK_FDNAMES", envParent, envReady, envLease, envCount, envFile:
		case "WATCHDOG_PID": // the new one is watched once it is the main process
		default:
			kept = append(kept, kv)
		}
	}
	return kept
}

// watchPipe calls f on the loop once the pipe has something to say: a byte, or
// its end. It owns the descriptor, and closes it then.
func (l *loop) watchPipe(fd int, f func(said bool)) {
	if err := unix.SetNonblock(fd, true); err != nil {
		l.Logger.Error("cannot watch a pipe", "error", err.Error())
		unix.Close(fd)
		return
	}
	pipe := os.NewFile(uintptr(fd), "pipe")
	l.pipes = append(l.pipes, pipe)
	l.watching.Go(func() {
		said, err := await(pipe)
		if err != nil {
			return // closed by closePipes
		}
		select {
		case l.facts <- func() {
			l.pipes = slices.DeleteFunc(l.pipes, func(p *os.File) bool { return p == pipe })
			_ = pipe.Close() // it was only read
			f(said)
		}:
		case <-l.ended:
		}
	})
}

// await blocks until the descriptor, a pipe or a pidfd, is readable, and says
// whether there was a byte.
func await(f *os.File) (said bool, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	err = conn.Read(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(ready, 0); err != nil || n == 0 {
			return false
		}
		var b [1]byte
		n, _ := unix.Read(int(fd), b[:]) // a pidfd cannot be read
		said = n == 1
		return true
	})
	return said, err
}

// closePipes ends the watching.
func (l *loop) closePipes() {
	for _, p := range l.pipes {
		_ = p.Close()
	}
	l.watching.Wait()
	l.quiet.Wait()
}

// watchParent waits for the end of the older arbiter and its manager. One that
// gave no lease is watched by its pid.
func (l *loop) watchParent() {
	if l.Lineage.Parent == 0 {
		return
	}
	if fd := l.Lineage.Ready; fd >= 0 {
		unix.CloseOnExec(fd)
	}
	gone := func(bool) { l.step(parentGone{}) }
	if l.Lineage.Lease >= 0 {
		unix.CloseOnExec(l.Lineage.Lease)
		l.watchPipe(l.Lineage.Lease, gone)
		return
	}
	fd, err := proc.OpenPID(l.Lineage.Parent)
	if err != nil {
		l.Logger.Warn("cannot watch the older arbiter: taking over now", "parent", l.Lineage.Parent, "error", err.Error())
		l.step(parentGone{})
		return
	}
	l.watchPipe(fd, gone)
}

// tellParent says that this arbiter serves.
func (l *loop) tellParent() {
	fd := l.Lineage.Ready
	if fd < 0 {
		return
	}
	l.Lineage.Ready = -1
	if _, err := unix.Write(fd, []byte{1}); err != nil && !errors.Is(err, unix.EPIPE) {
		l.Logger.Warn("cannot tell the older arbiter that this one serves", "error", err.Error())
	}
	unix.Close(fd)
}

// clearAfterChild removes the names of a younger arbiter that has ended, which it
// leaves behind when it was killed: a script would go by the pid in its pidfile.
func (l *loop) clearAfterChild(pid int) {
	cfg := l.config()
	if cfg.Server.Pidfile != "" {
		removePidfile(cfg.Server.Pidfile+siblingSuffix, pid)
	}
	if l.control != nil && !strings.HasPrefix(l.control.Path(), "@") {
		_ = handoff.RemoveStale(l.control.Path() + siblingSuffix)
	}
	l.place.sweep(cfg.Name)
	l.removeShared()
}

// alone says whether no other arbiter may serve on the same sockets.
func (l *loop) alone() bool { return l.child == 0 && l.Lineage.Parent == 0 }

// removeShared removes the unix sockets that were left to a sibling which has
// gone. Where somebody still listens, perhaps one of its workers, it is tried
// again at the end.
func (l *loop) removeShared() {
	l.shared = slices.DeleteFunc(l.shared, func(path string) bool { return handoff.RemoveStale(path) == nil })
}

// outlive is the end of an arbiter whose sibling may have ended since the loop did,
// as both do when a whole control group gets SIGTERM. The names of the two are this
// one's to remove then.
func (l *loop) outlive() {
	if l.child != 0 {
		for _, x := range l.System.Sweep().Exits {
			if x.PID == l.child {
				l.child = 0
				l.clearAfterChild(x.PID)
			}
		}
	}
	if parent := l.Lineage.Parent; parent != 0 && !proc.Alive(parent) {
		l.takeNames()
	}
	if l.alone() {
		l.removeShared()
	}
}

// promote makes this the only arbiter.
func (l *loop) promote() {
	l.takeNames()
	l.place.sweep(l.Config.Name)
	l.removeShared()
	l.tellSystemd("MAINPID=" + strconv.Itoa(l.PID) + "\nREADY=1\nSTATUS=running")
}

// takeNames takes the names of the older arbiter, which is gone.
func (l *loop) takeNames() {
	l.Lineage.Parent = 0
	var errs []error
	if path := l.Config.Server.Pidfile; path != "" {
		errs = append(errs, os.Rename(path+siblingSuffix, path))
	}
	if l.control != nil && strings.HasSuffix(l.control.Path(), siblingSuffix) {
		errs = append(errs, l.control.Rename(strings.TrimSuffix(l.control.Path(), siblingSuffix)))
	}
	if err := errors.Join(errs...); err != nil {
		l.Logger.Error("cannot take over the older arbiter's names", "error", err.Error())
	}
}
