//go:build linux

package proc_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/proc"
)

// The test binary plays the children: "proc.test child MODE ARG…".
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		os.Exit(child(os.Args[2], os.Args[3:]))
	}
	goleak.VerifyTestMain(m)
}

func child(mode string, args []string) int {
	switch mode {
	case "exit":
		code, _ := strconv.Atoi(args[0])
		return code
	case "hang":
		say("ready")
		hang()
	case "ignore-term":
		signal.Ignore(syscall.SIGTERM)
		say("ready")
		hang()
	case "print-env": // our pid, then the values
		values := []string{strconv.Itoa(os.Getpid())}
		for _, key := range args {
			value, found := os.LookupEnv(key)
			if !found {
				value = "-"
			}
			values = append(values, value)
		}
		say(strings.Join(values, " "))
	case "print-args":
		say(fmt.Sprintf("%q", args))
	case "fork-grandchild": // which hangs in our group; we exit
		say(strconv.Itoa(fork("hang-silently", syscall.SysProcAttr{})))
	case "fork-group": // as a manager does that is killed: we exit, the companion hangs
		say(strconv.Itoa(fork("hang-silently", syscall.SysProcAttr{Setpgid: true})))
	case "hang-silently":
		hang()
	case "fork-leaver": // see TestGroupEndIsHeardWhenTheParentLeftTheGroup
		fork("leaver", syscall.SysProcAttr{})
		hang()
	case "leaver": // its child stays in the group, it does not, and never waits
		member := fork("hang-silently", syscall.SysProcAttr{})
		if _, err := syscall.Setsid(); err != nil {
			say(err.Error())
		}
		say(fmt.Sprint(os.Getpid(), member))
		hang()
	case "supervise": // start cat as a child, with a blocked signal, and wait
		runtime.LockOSThread()
		var block unix.Sigset_t
		block.Val[0] = 1 << (syscall.SIGUSR1 - 1)
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, nil); err != nil {
			say(err.Error())
		}
		table, err := proc.New()
		if err != nil {
			say(err.Error())
			return 1
		}
		if _, err := table.Start(proc.Command{
			Path: "/bin/cat", Args: []string{"cat", "/proc/self/status"},
			Files: []int{-1, 1, 2}, Umask: proc.InheritUmask,
		}); err != nil {
			say(err.Error())
			return 1
		}
		for range table.Changed() {
			if len(table.Sweep().Exits) > 0 {
				return 0
			}
		}
	case "supervise-until-killed": // with a child that must die with us
		table, err := proc.New()
		if err != nil {
			say(err.Error())
			return 1
		}
		c := testChild("hang-silently")
		c.ParentDeathSignal = syscall.SIGKILL
		pid, err := table.Start(c)
		if err != nil {
			say(err.Error())
			return 1
		}
		say(strconv.Itoa(pid))
		hang()
	}
	return 99
}

func say(line string) { os.Stdout.WriteString(line + "\n") }

// hang outlives every test; the tests kill it.
func hang() { time.Sleep(time.Hour) }

// fork starts this binary and does not wait for it.
func fork(mode string, sys syscall.SysProcAttr) int {
	p, err := os.StartProcess("/proc/self/exe", []string{"proc.test", "child", mode},
		&os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}, Sys: &sys})
	if err != nil {
		say(err.Error())
		os.Exit(98)
	}
	return p.Pid
}

// testChild is this binary as a child in that mode.
func testChild(mode string, args ...string) proc.Command {
	return proc.Command{
		Path:  "/proc/self/exe",
		Args:  append([]string{"proc.test", "child", mode}, args...),
		Files: []int{proc.DevNull, proc.DevNull, 2},
		Umask: proc.InheritUmask,
	}
}

// system is a Table for one test, on whose goroutine it is used.
type system struct {
	*proc.Table
	t        testing.TB
	exits    map[int]proc.Exit // own and orphans
	orphaned []int
	gone     []int
}

func newSystem(t testing.TB) *system {
	t.Helper()
	runtime.LockOSThread()
	table, err := proc.New()
	if err != nil {
		t.Fatal(err)
	}
	s := &system{Table: table, t: t, exits: map[int]proc.Exit{}}
	t.Cleanup(func() {
		defer runtime.UnlockOSThread()
		for pids := s.Descendants(); len(pids) > 0; pids = s.Descendants() {
			for _, pid := range pids {
				syscall.Kill(pid, syscall.SIGKILL)
			}
			s.until("descendants are gone", func() bool { return len(s.Descendants()) == 0 })
		}
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// until sweeps on each change until the condition holds.
func (s *system) until(what string, condition func() bool) {
	s.t.Helper()
	s.sweep()
	if !condition() {
		s.untilWoken(what, condition)
	}
}

// untilWoken sweeps only when it is told to, so that the condition holds thanks
// to Changed and not to a lucky look.
func (s *system) untilWoken(what string, condition func() bool) {
	s.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		select {
		case <-s.Changed():
		case <-deadline.C:
			s.t.Fatalf("never happened: %s", what)
		}
		s.sweep()
		if condition() {
			return
		}
	}
}

func (s *system) sweep() {
	changes := s.Sweep()
	for _, e := range changes.Exits {
		s.exits[e.PID] = e
	}
	for _, e := range changes.Orphans {
		s.exits[e.PID] = e
		s.orphaned = append(s.orphaned, e.PID)
	}
	s.gone = append(s.gone, changes.Gone...)
}

// calm takes the signs of what has been swept already.
func (s *system) calm() {
	for {
		select {
		case <-s.Changed():
			s.sweep()
		default:
			return
		}
	}
}

func (s *system) start(c proc.Command) int {
	s.t.Helper()
	pid, err := s.Start(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return pid
}

func (s *system) exit(pid int) proc.Exit {
	s.t.Helper()
	s.until(fmt.Sprintf("exit of %d", pid), func() bool { _, ok := s.exits[pid]; return ok })
	return s.exits[pid]
}

func (s *system) untilGone(pgid int) {
	s.t.Helper()
	s.untilWoken(fmt.Sprintf("end of group %d", pgid), func() bool { return slices.Contains(s.gone, pgid) })
}

// reading starts the child with its standard output and error as a pipe.
func (s *system) reading(c proc.Command) (pid int, out *bufio.Reader) {
	s.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { r.Close() })
	c.Files = append([]int{proc.DevNull, int(w.Fd()), int(w.Fd())}, c.Files[min(3, len(c.Files)):]...)
	pid = s.start(c)
	w.Close()
	return pid, bufio.NewReader(r)
}

// output runs the child to its end.
func (s *system) output(c proc.Command) (string, proc.Exit) {
	s.t.Helper()
	pid, out := s.reading(c)
	text, err := io.ReadAll(out)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text), s.exit(pid)
}

func line(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	text, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("the child said %q, then: %v", text, err)
	}
	return strings.TrimSuffix(text, "\n")
}

func number(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// field returns the value of "Name:\tvalue" in /proc/PID/status.
func field(t testing.TB, status, name string) string {
	t.Helper()
	for l := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(l, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s in %q", name, status)
	return ""
}

// subreaper makes this process adopt orphans, or not, for one test.
func subreaper(t testing.TB, on uintptr) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, on, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
}
