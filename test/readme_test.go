//go:build linux

package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"golang.org/x/sys/unix"
)

// typed is a command of the README and what it shows of the answer.
type typed struct {
	line    int // in the README
	command string
	shown   []string
}

// consoleOf returns what the console blocks below these headings have, in order.
func consoleOf(readme string, headings ...string) (session []typed) {
	var wanted, inside bool
	number := 0
	for line := range strings.Lines(readme) {
		line = strings.TrimSuffix(line, "\n")
		number++
		switch {
		case inside && line == "```":
			inside = false
		case inside && strings.HasPrefix(line, "$ "):
			session = append(session, typed{line: number, command: line[2:]})
		case inside && len(session) > 0:
			last := &session[len(session)-1]
			last.shown = append(last.shown, line)
		case strings.HasPrefix(line, "## "):
			wanted = slices.Contains(headings, line[3:])
		case wanted && line == "```console":
			inside = true
		}
	}
	return session
}

// notTyped are the commands that the test leaves out: they fetch and build the
// tree that the test is of, or run the tests that it is one of.
var notTyped = []string{"git clone ", "cd gofork", "make test"}

// makeRun is carried out by its second line, the command that make shows.
const makeRun = "make run"

// masks make what differs from run to run the same. In the table of workers the
// slot is such a thing: the kernel chooses who answers, and so who is killed.
var masks = []struct {
	varies *regexp.Regexp
	by     string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}`), "TIME"},
	{regexp.MustCompile(`\b\d+:\d\d:\d\d\b`), "CLOCK"},
	{regexp.MustCompile(`\b\d+\.\d+s\b`), "SECONDS"},
	{regexp.MustCompile(`\b\d+(\.\d+)? MiB`), "MEMORY"},
	{regexp.MustCompile(`\bpid([ =])\d+`), "pid${1}PID"},
	{regexp.MustCompile(`^\d+ +\d+ +(ready|booting|draining)`), "SLOT PID $1"},
	{regexp.MustCompile(`\bslot \d+ pid`), "slot SLOT pid"},
	{regexp.MustCompile(` +`), " "},
}

func masked(lines []string) []string {
	var all []string
	for _, line := range lines {
		for _, m := range masks {
			line = m.varies.ReplaceAllString(line, m.by)
		}
		all = append(all, strings.TrimSpace(line))
	}
	// The rows of the table, whose slots are masked, in an order of their own.
	for i := 0; i < len(all); i++ {
		end := i
		for end < len(all) && strings.HasPrefix(all[end], "SLOT PID ready") {
			end++
		}
		slices.Sort(all[i:end])
		i = max(i, end-1)
	}
	return all
}

// shows reports whether an output is what the README shows: a line of "…" stands
// for any lines, and within a line for any text.
func shows(shown, output []string) bool {
	var pattern strings.Builder
	for _, line := range shown {
		if line == "…" {
			pattern.WriteString(`(?:.*\n)*`)
			continue
		}
		pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `\n`)
	}
	whole := regexp.MustCompile(`^` + pattern.String() + `$`)
	return whole.MatchString(strings.Join(append(slices.Clone(output), ""), "\n"))
}

func TestShowsNoticesADifference(t *testing.T) {
	t.Parallel()
	shown := masked([]string{"…", "a  pid 12", "1  77  ready  1", "2  78  ready  2", "b … c", "…"})
	for output, want := range map[string]bool{
		"x\na pid 9\n1  5  ready  2\n2  6  ready  1\nb or c": true,
		"a pid 9\n1 5 ready 1\n2 6 ready 2\nb or c\nx\nx":    true,
		"a pid 9\n1 5 ready 1\n2 6 ready 3\nb or c":          false,
		"a pid 9\n1 5 ready 1\nb or c":                       false,
		"a pid\n1 5 ready 1\n2 6 ready 2\nb or c":            false,
	} {
		if got := shows(shown, masked(strings.Split(output, "\n"))); got != want {
			t.Errorf("%q: %v, want %v", output, got, want)
		}
	}
}

// readmeSession is a copy of the repository's examples and a shell in it.
type readmeSession struct {
	*server
	env []string
	set *syscall.SysProcAttr
}

// shellIn gives the session a user who is not root, so that its sockets are in
// its own XDG_RUNTIME_DIR, and an address that nobody has: 8000 may be taken.
func shellIn(t *testing.T) *readmeSession {
	t.Helper()
	s := &readmeSession{server: &server{
		t: t, id: rand.Text(), addr: freeAddr(t), dir: shortTempDir(t),
		journal: newJournal(), exited: make(chan struct{}),
	}, set: &syscall.SysProcAttr{Setpgid: true}}
	s.sock = s.path("gofork/app.sock")
	repo := repository(t)
	if err := os.CopyFS(s.path("configs"), os.DirFS(filepath.Join(repo, "configs"))); err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.path("configs/app.toml"), strings.ReplaceAll(readFile(t, s.path("configs/app.toml")), "127.0.0.1:8000", s.addr))
	if err := os.Mkdir(s.path("bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary(t), s.path("bin/gofork")); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		const nobody = 65534
		s.set.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		err := filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, nobody, nobody))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.env = append(slices.DeleteFunc(cleanEnv(), func(kv string) bool { return strings.HasPrefix(kv, "PATH=") }),
		markEnv+"="+s.id, "XDG_RUNTIME_DIR="+s.dir, "HOME="+s.dir, "NO_COLOR=1",
		"PATH="+s.path("bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	return s
}

func (s *readmeSession) shell(ctx context.Context, command string) *exec.Cmd {
	// curl's progress meter is for a terminal alone.
	command = strings.NewReplacer("127.0.0.1:8000", s.addr, "curl http", "curl -s http").Replace(command)
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = s.dir, s.env, s.set
	return cmd
}

// terminal returns the end of a pseudoterminal that a program has (pts(4)); the
// journal reads the other.
func (s *readmeSession) terminal() *os.File {
	s.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		s.t.Fatalf("cannot make a terminal: %v", err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.journal.follow(master, nil)
	return slave
}

// serve starts gofork by the command that make shows, in a terminal as there.
func (s *readmeSession) serve(command string) {
	s.t.Helper()
	s.cmd = s.shell(context.Background(), command)
	stdout, stderr := s.pipe(nil), s.terminal()
	s.cmd.Stdout, s.cmd.Stderr = stdout, stderr
	err := s.cmd.Start()
	stdout.Close()
	stderr.Close()
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		// How it ended is read from ProcessState.
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	s.t.Cleanup(s.finish)
}

// answered is an output with the session's places as the README names them.
func (s *readmeSession) answered(output string) []string {
	output = strings.NewReplacer("\r", "", s.addr, "127.0.0.1:8000", s.path("gofork"), "/run/gofork").Replace(output)
	var lines []string
	for line := range strings.Lines(output) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	return masked(lines)
}

// settle waits for what a reader sees happen before the next command is typed:
// everything that was begun has been done, or nothing is there any more.
func (s *readmeSession) settle() {
	s.t.Helper()
	eventually(s.t, "what was begun is done", func() bool {
		st, err := statusAt(s.sock)
		if err != nil {
			return len(marked(s.id)) == 0
		}
		return (st.State == control.StateRunning || st.State == control.StateUpgrading) &&
			st.Workers.Ready == st.Workers.Configured && st.Manager != nil && companionsUp(st)
	})
}

// reads are the commands that change nothing: they are typed again until the
// answer is as shown, as by a reader who is slower than this test.
var reads = []string{"gofork status", "bin/gofork status", "gofork logs", "gofork check", "curl "}

func (s *readmeSession) replay(c typed) {
	s.t.Helper()
	want := masked(c.shown)
	var got []string
	var code int
	try := func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := s.shell(ctx, c.command)
		var both bytes.Buffer
		cmd.Stdout, cmd.Stderr = &both, &both
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			s.t.Fatalf("README.md:%d: %s: %v", c.line, c.command, err)
		}
		code = cmd.ProcessState.ExitCode()
		got = s.answered(both.String())
		return shows(want, got)
	}
	right := try()
	if slices.ContainsFunc(reads, func(p string) bool { return strings.HasPrefix(c.command, p) }) {
		again := time.NewTicker(100 * time.Millisecond)
		defer again.Stop()
		for deadline := time.Now().Add(patience / 3); !right && time.Now().Before(deadline); right = try() {
			<-again.C
		}
	}
	if !right {
		s.t.Errorf("README.md:%d: %s shows\n%s\nwant\n%s", c.line, c.command, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	fails := slices.ContainsFunc(c.shown, func(l string) bool { return strings.Contains(l, "cannot") || strings.Contains(l, "error") })
	if fails != (code != 0) {
		s.t.Errorf("README.md:%d: %s: exit code %d", c.line, c.command, code)
	}
}

// log is what gofork has written into its terminal.
func (s *readmeSession) log() []string {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.answered(strings.Join(s.journal.lines, "\n"))
}

// logShows checks that the log has the lines that the README shows of it. Those
// of different processes may come in any order.
func (s *readmeSession) logShows(shown []string) {
	s.t.Helper()
	for i, want := range masked(shown) {
		eventually(s.t, "the log has README.md's "+shown[i], func() bool {
			return slices.ContainsFunc(s.log(), func(line string) bool {
				return shows([]string{want}, []string{line})
			})
		})
	}
}

func TestReadmeSessionAnswersAsItSays(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		skip(t, "curl is not installed")
	}
	session := consoleOf(readFile(t, filepath.Join(repository(t), "README.md")), "Try it", "Five minutes")
	if len(session) < 20 {
		t.Fatalf("README.md has a session of %d commands, want all of it", len(session))
	}
	s := shellIn(t)
	for _, c := range session {
		switch {
		case slices.ContainsFunc(notTyped, func(p string) bool { return strings.HasPrefix(c.command, p) }):
			t.Logf("README.md:%d: not typed: %s", c.line, c.command)
		case c.command == makeRun:
			if s.cmd != nil || len(c.shown) < 3 || !strings.HasPrefix(c.shown[1], "exec bin/gofork serve ") {
				t.Fatalf("README.md:%d: %s does not show how gofork is served", c.line, c.command)
			}
			s.serve(c.shown[1])
			s.logShows(c.shown[2:])
		default:
			s.settle()
			s.replay(c)
		}
	}
	// The last word is that nobody is there; "the exit code of gofork serve is 0".
	if code := s.exit(patience); code != 0 {
		t.Errorf("gofork serve ended with exit code %d, want 0", code)
	}
}
