package proc_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/proc"
)

// cat shows a file of /proc/self as the program finds it: cat changes nothing
// about itself, unlike a Go program, which raises its descriptor limit first.
func cat(files ...string) proc.Command {
	args := []string{"cat"}
	for _, f := range files {
		args = append(args, "/proc/self/"+f)
	}
	return proc.Command{Path: "/bin/cat", Args: args, Umask: proc.InheritUmask}
}

func TestEveryFastExitIsReapedOnce(t *testing.T) {
	s := newSystem(t)
	const n = 500
	want := make(map[int]int)
	reaped := 0
	for i := range n {
		pid := s.start(proc.Command{Path: "/bin/sh", Args: []string{"sh", "-c", fmt.Sprint("exit ", i%7)}, Umask: proc.InheritUmask})
		want[pid] = i % 7
		if i%50 == 0 { // sweeps and starts interleave, and most exits coalesce
			for _, e := range s.Sweep().Exits {
				s.exits[e.PID] = e
				reaped++
			}
		}
	}
	s.until("all exits", func() bool { return len(s.exits) == n })
	for pid, code := range want {
		if e, ok := s.exits[pid]; !ok || e.Code != code || e.Signal != 0 || e.GroupAlive {
			t.Errorf("exit of %d: %+v, want code %d", pid, e, code)
		}
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
		t.Errorf("children are left: %v", err)
	}
}

func TestExitTellsTheSignalAndTheCost(t *testing.T) {
	s := newSystem(t)
	pid, out := s.reading(testChild("hang"))
	line(t, out)
	rss, err := s.RSS(pid)
	if err != nil || rss < 1<<20 {
		t.Errorf("RSS = %d, %v", rss, err)
	}
	if err := s.Signal(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e := s.exit(pid)
	if e.Signal != syscall.SIGKILL || e.Code != -1 || e.Status() != 137 || e.String() != "killed by SIGKILL" {
		t.Errorf("exit: %+v %q", e, e)
	}
	if e.MaxRSS < 1<<20 || e.CPU <= 0 {
		t.Errorf("cost: %d bytes, %v", e.MaxRSS, e.CPU)
	}
	if err := s.Signal(pid, syscall.SIGKILL); !errors.Is(err, proc.ErrGone) {
		t.Errorf("a signal to a reaped child: %v", err)
	}
}

func TestIgnoredTermLeavesTheChildAlive(t *testing.T) {
	s := newSystem(t)
	pid, out := s.reading(testChild("ignore-term"))
	line(t, out)
	if err := s.SignalGroup(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if !proc.Alive(pid) {
		t.Error("dead")
	}
	if err := s.SignalGroup(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := s.exit(pid); e.Signal != syscall.SIGKILL {
		t.Errorf("%v, want killed by SIGKILL", e)
	}
}

func TestChildLeadsItsOwnGroup(t *testing.T) {
	s := newSystem(t)
	pid, out := s.reading(testChild("hang"))
	line(t, out)
	if pgid, err := syscall.Getpgid(pid); err != nil || pgid != pid {
		t.Errorf("group %d, %v; want %d", pgid, err, pid)
	}
}

func TestChildHasOnlyTheDescriptorsItWasGiven(t *testing.T) {
	// Inherited by us without close-on-exec, as a careless parent would leave it.
	stray, err := unix.Open("/dev/zero", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stray)
	given, err := os.Open("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	defer given.Close()
	s := newSystem(t)
	c := testChild("hang")
	c.Files = []int{0, 1, 2, int(given.Fd()), proc.DevNull}
	pid, out := s.reading(c)
	line(t, out)
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		target, _ := os.Readlink(filepath.Join(dir, e.Name()))
		if strings.HasPrefix(target, "anon_inode:[event") || strings.HasPrefix(target, "/sys/fs/cgroup/") {
			continue // of the Go runtime in the child
		}
		got[e.Name()], _, _ = strings.Cut(target, ":")
	}
	want := map[string]string{"0": "/dev/null", "1": "pipe", "2": "pipe", "3": "/dev/full", "4": "/dev/null"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("descriptors %v, want %v", got, want)
	}
}

func TestMissingStandardStreamsAreDevNull(t *testing.T) {
	s := newSystem(t)
	c := testChild("hang-silently")
	c.Files = nil
	pid := s.start(c)
	for fd := range 3 {
		if target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)); target != "/dev/null" {
			t.Errorf("descriptor %d is %q, %v", fd, target, err)
		}
	}
}

func TestChildStartsWithDefaultDispositionsAndEmptyMask(t *testing.T) {
	ignored := []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGUSR2}
	signal.Ignore(ignored...) // the supervisor below inherits them
	t.Cleanup(func() { signal.Reset(ignored...) })
	beside, err := exec.Command("/bin/cat", "/proc/self/status").Output()
	if err != nil || field(t, string(beside), "SigIgn") == strings.Repeat("0", 16) {
		t.Fatalf("the supervisor would inherit nothing: the test shows nothing (%v)", err)
	}
	status, err := exec.Command("/proc/self/exe", "child", "supervise").Output()
	if err != nil {
		t.Fatalf("%v: %s", err, status)
	}
	for _, set := range []string{"SigIgn", "SigBlk"} {
		if got := field(t, string(status), set); got != strings.Repeat("0", 16) {
			t.Errorf("%s is %s", set, got)
		}
	}
}

// Whoever has a pid may signal it: there is no moment in which the child is not
// the program yet and takes the signal for itself.
func TestSignalRightAfterTheStartMeetsTheProgram(t *testing.T) {
	s := newSystem(t)
	for _, sig := range []syscall.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, 64,
	} {
		for range 5 {
			pid, out := s.reading(proc.Command{Path: "/bin/sleep", Args: []string{"sleep", "20"}, Umask: proc.InheritUmask})
			if err := s.Signal(pid, sig); err != nil {
				t.Fatal(err)
			}
			said, err := io.ReadAll(out)
			if err != nil {
				t.Fatal(err)
			}
			if e := s.exit(pid); e.Signal != sig || len(said) > 0 {
				t.Fatalf("sent %s: signal %d, code %d, and it said %.200q", proc.SignalName(sig), e.Signal, e.Code, said)
			}
		}
	}
}

func TestUmask(t *testing.T) {
	s := newSystem(t)
	before := syscall.Umask(0o022)
	defer syscall.Umask(before)
	for _, c := range []struct {
		umask int
		want  string
	}{{0o027, "0027"}, {0, "0000"}, {proc.InheritUmask, "0022"}} {
		command := cat("status")
		command.Umask = c.umask
		status, _ := s.output(command)
		if got := field(t, status, "Umask"); got != c.want {
			t.Errorf("umask %o: the child has %s", c.umask, got)
		}
	}
	if after := syscall.Umask(0o022); after != 0o022 {
		t.Errorf("the supervisor is left with umask %o", after)
	}
}

func TestAttributesHoldBeforeTheFirstInstruction(t *testing.T) {
	s := newSystem(t)
	c := cat("limits", "oom_score_adj", "stat", "status")
	c.Rlimits = []proc.Rlimit{
		{Name: "nofile", Resource: unix.RLIMIT_NOFILE, Soft: 111, Hard: 222},
		{Name: "core", Resource: unix.RLIMIT_CORE, Soft: 0, Hard: math.MaxUint64},
		// Less than a Go runtime needs.
		{Name: "as", Resource: unix.RLIMIT_AS, Soft: 50 << 20, Hard: 60 << 20},
		{Name: "nproc", Resource: unix.RLIMIT_NPROC, Soft: 1, Hard: 1},
	}
	c.Nice, c.OOMScoreAdj, c.NoNewPrivs = 7, 321, true
	out, e := s.output(c)
	if e.Code != 0 {
		t.Fatalf("%v: %s", e, out)
	}
	words := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{
		"Max open files 111 222 files",
		"Max core file size 0 unlimited bytes",
		"Max address space 52428800 62914560 bytes",
		"Max processes 1 1 processes",
		" 321 ",
		"NoNewPrivs: 1",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("no %q in %s", want, words)
		}
	}
	stat := out[strings.Index(out, "(cat)"):]
	if nice := strings.Fields(stat)[17]; nice != "7" {
		t.Errorf("nice is %s, want 7", nice)
	}
}

// As syscall.ForkExec does it: Go has raised the soft limit of open files for itself.
func TestLimitsAreTheSupervisorsOwnOtherwise(t *testing.T) {
	beside, err := exec.Command("/bin/cat", "/proc/self/limits").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := newSystem(t)
	if limits, _ := s.output(cat("limits")); limits != string(beside) {
		t.Errorf("limits:\n%s\nof a child that Go started:\n%s", limits, beside)
	}
}

func TestFailedAttributeLeavesNoChild(t *testing.T) {
	s := newSystem(t)
	c := testChild("hang")
	c.OOMScoreAdj = 5000
	_, err := s.Start(c)
	const want = "cannot start /proc/self/exe: cannot set oom_score_adj 5000: invalid argument"
	if err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if left := s.Descendants(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if changes := s.Sweep(); len(changes.Exits)+len(changes.Orphans) > 0 {
		t.Errorf("a child that never was is reported: %+v", changes)
	}
}

func TestCredentials(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can change them")
	}
	// Whatever tests before this one have started by package os.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	for _, more := range []bool{false, true} {
		s := newSystem(t)
		c := cat("status", "limits")
		c.Credential = &proc.Credential{UID: 65534, GID: 65533, Groups: []uint32{4321}}
		c.Dir = "/"
		want := "Max locked memory"
		if more { // for which the child has no privilege any more
			c.Nice = -3
			c.OOMScoreAdj = 7
			memlock := proc.Rlimit{Resource: unix.RLIMIT_MEMLOCK, Soft: 4096, Hard: 4096}
			want += " 4096 4096 bytes"
			if mayRaiseLimits(t) {
				memlock.Soft, memlock.Hard = math.MaxUint64, math.MaxUint64
				want = "Max locked memory unlimited unlimited bytes"
			}
			c.Rlimits = []proc.Rlimit{memlock}
		}
		status, e := s.output(c)
		if e.Code != 0 {
			t.Fatalf("%v: %s", e, status)
		}
		for name, want := range map[string]string{
			"Uid":    "65534\t65534\t65534\t65534",
			"Gid":    "65533\t65533\t65533\t65533",
			"Groups": "4321",
		} {
			if got := field(t, status, name); got != want {
				t.Errorf("more %v: %s is %q, want %q", more, name, got, want)
			}
		}
		words := strings.Join(strings.Fields(status), " ")
		if !strings.Contains(words, want) {
			t.Errorf("no %q in %s", want, words)
		}
	}
	// Or this process' own descriptors were nobody's to read, be it the arbiter, in a
	// container that has no CAP_SYS_PTRACE.
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 1 {
		t.Errorf("the supervisor's own dumpable attribute is %d now, %v", dumpable, err)
	}
}

func TestUserThatCannotBeTaken(t *testing.T) {
	if os.Getuid() == 0 {
		// Only who is not root is refused: without capabilities root is, too.
		runUnprivileged(t)
		return
	}
	s := newSystem(t)
	c := cat("status")
	c.Credential = &proc.Credential{UID: 65533, GID: 65532}
	_, err := s.Start(c)
	if err == nil || !strings.Contains(err.Error(), "cannot become user 65533, group 65532: operation not permitted") || !errors.Is(err, syscall.EPERM) {
		t.Errorf("error %v, want one that names the user", err)
	}
}

// runUnprivileged runs the calling test again as nobody.
func runUnprivileged(t *testing.T) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

// mayRaiseLimits says whether we have CAP_SYS_RESOURCE, which root in a container
// usually has not.
func mayRaiseLimits(t *testing.T) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	effective, err := strconv.ParseUint(field(t, string(status), "CapEff"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

func TestLimitThatMayNotBeRaisedIsNamed(t *testing.T) {
	if mayRaiseLimits(t) {
		t.Skip("we may raise every limit")
	}
	s := newSystem(t)
	c := cat("limits")
	c.Rlimits = []proc.Rlimit{{Name: "nofile", Resource: unix.RLIMIT_NOFILE, Soft: 1 << 40, Hard: 1 << 40}}
	if _, err := s.Start(c); !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), "cannot raise resource limit nofile") {
		t.Errorf("error %v", err)
	}
}

func TestChildrenDieWithTheSupervisor(t *testing.T) {
	subreaper(t, 1)
	s := newSystem(t)
	supervisor, out := s.reading(testChild("supervise-until-killed"))
	pid := number(t, line(t, out))
	if err := s.Signal(supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := s.exit(pid); e.Signal != syscall.SIGKILL || !slices.Contains(s.orphaned, pid) {
		t.Errorf("the child %v", e)
	}
}

func TestListenPIDIsTheChildsOwn(t *testing.T) {
	for _, c := range []struct {
		name  string
		env   []string
		asked bool
		nice  bool
		want  string // with P for the child's pid
	}{
		{"asked for", []string{"LISTEN_PID=1", "LISTEN_FDS=1"}, true, false, "P P -"},
		{"with another attribute", []string{"LISTEN_FDS=1"}, true, true, "P P -"},
		{"with a watchdog", []string{"WATCHDOG_USEC=5", "WATCHDOG_PID=1"}, true, false, "P P P"},
		{"not asked for", []string{"LISTEN_PID=1", "WATCHDOG_PID=2"}, false, true, "P 1 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSystem(t)
			command := testChild("print-env", "LISTEN_PID", "WATCHDOG_PID")
			command.Env = c.env
			command.ListenPID = c.asked
			if c.nice {
				command.Nice = 1
			}
			pid, out := s.reading(command)
			want := strings.ReplaceAll(c.want, "P", strconv.Itoa(pid))
			if got := line(t, out); got != want {
				t.Errorf("pid, LISTEN_PID, WATCHDOG_PID: %q, want %q", got, want)
			}
			s.exit(pid)
		})
	}
}

func TestArgumentsArriveAsTheyAre(t *testing.T) {
	s := newSystem(t)
	args := []string{"", "a b", "ünï", "x\ny", strings.Repeat("long", 5000), ""}
	c := testChild("print-args", args...)
	c.ListenPID = true
	if out, _ := s.output(c); out != fmt.Sprintf("%q\n", args) {
		t.Errorf("arguments: %.100s", out)
	}
}

func TestProgramThatCannotBeExecuted(t *testing.T) {
	dir := t.TempDir()
	missing, locked := filepath.Join(dir, "missing"), filepath.Join(dir, "locked prog")
	if err := os.WriteFile(locked, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t)
	for _, c := range []struct {
		path, reason string
		is           error
	}{
		{missing, "no such file or directory", fs.ErrNotExist},
		{locked, "permission denied", fs.ErrPermission},
	} {
		_, err := s.Start(proc.Command{Path: c.path, Umask: proc.InheritUmask})
		if want := "cannot start " + c.path + ": " + c.reason; err == nil || err.Error() != want || !errors.Is(err, c.is) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	_, err := s.Start(proc.Command{Path: "/bin/true", Dir: missing, Umask: proc.InheritUmask})
	if want := "cannot start /bin/true: cannot enter directory " + missing + ": no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("without its directory: %v, want %s", err, want)
	}
	if left := s.Descendants(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStartTimeTellsProcessesApart(t *testing.T) {
	s := newSystem(t)
	pid := s.start(testChild("hang-silently"))
	child, err := proc.StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	own, err := proc.StartTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if child < own {
		t.Errorf("the child started at %d, before us at %d", child, own)
	}
	if err := s.Signal(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.exit(pid)
	if _, err := proc.StartTime(pid); !errors.Is(err, proc.ErrGone) {
		t.Errorf("start time of a reaped process: %v", err)
	}
	if proc.Alive(pid) {
		t.Error("a reaped process is alive")
	}
}
