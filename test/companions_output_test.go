//go:build linux

package test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// What a program says in JSON is the record's message, every byte of it.
func TestJSONLineStaysIntactInItsRecord(t *testing.T) {
	t.Parallel()
	const line = `{"level":"warn","msg":"a \"quoted\" \\ word","n":[1,2],"é":"ü"}`
	s := start(t, `
[companion.talker]
command = ["cat", "@DIR/lines"]
stdout = "log"
stderr = "stdout"
autorestart = "never"
`, withFile("lines", line+"\n"))
	r := s.journal.await(t, 0, func(r record) bool { return r.Msg == line }, line)
	if r.text("companion") != "talker" || r.text("instance") != "1" {
		t.Errorf("%v does not say whose line it is", r)
	}
}

func TestOutputGoesWhereItIsSaid(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion_defaults]
startsecs = "0s"
[companion.inherits]
command = ["sleep", "1000"]
[companion.null]
command = ["sleep", "1000"]
stdout = "null"
stderr = "null"
[companion.file]
command = ["sleep", "1000"]
stdout = "@DIR/file"
stderr = "stdout"
[companion.two]
command = ["sleep", "1000"]
stdout = "@DIR/two.out"
stderr = "@DIR/two.err"
[companion.log]
command = ["sleep", "1000"]
stdout = "log"
stderr = "stdout"
`)
	st := s.ready()
	own := descriptors(t, s.pid())
	for id, want := range map[string][2]string{
		"inherits": {own[1], own[2]},
		"null":     {"/dev/null", "/dev/null"},
		"file":     {s.path("file"), s.path("file")},
		"two":      {s.path("two.out"), s.path("two.err")},
	} {
		open := settledDescriptors(t, companion(t, st, id).PID)
		if open[0] != "/dev/null" || open[1] != want[0] || open[2] != want[1] {
			t.Errorf("%s has %v open, want /dev/null and %v", id, open, want)
		}
	}
	open := settledDescriptors(t, companion(t, st, "log").PID)
	if !strings.HasPrefix(open[1], "pipe:") || open[2] != open[1] || open[1] == own[1] {
		t.Errorf("log has %v open, want one pipe of its own", open)
	}
	if flags := readFile(t, fmt.Sprintf("/proc/%d/fdinfo/1", companion(t, st, "file").PID)); !strings.Contains(flags, "2001\n") {
		t.Errorf("the file is not open for appending alone: %s", flags)
	}
}

// 300 lines of 64 bytes in files of 4 KiB: three backups and the present one
// hold the last of them, in order, and no line is torn.
func TestCapturedFileIsRotatedBySize(t *testing.T) {
	t.Parallel()
	const size, lines, backups = 4096, 300, 3
	s := start(t, fmt.Sprintf(`
[companion.prints]
%s
stdout = "@DIR/out"
stderr = "stdout"
log_max_size = "4KiB"
log_backups = %d
startsecs = "0s"
`, script(fmt.Sprintf(`n=0; while [ $n -lt %d ]; do n=$((n+1)); printf "line %%058d\n" $n >&$((1 + n %% 2)); done; touch @DIR/done; exec sleep 1000`, lines)), backups))
	s.ready()
	eventually(t, "everything was printed", func() bool { return there(s.path("done")) })
	last := fmt.Sprintf("line %058d\n", lines)
	eventually(t, "the last line is in the file", func() bool { return strings.HasSuffix(tryRead(s.path("out")), last) })
	var all string
	for _, name := range []string{"out.3", "out.2", "out.1", "out"} {
		content := readFile(t, s.path(name))
		if len(content) > size || !strings.HasSuffix(content, "\n") {
			t.Errorf("%s has %d bytes, want whole lines of %d at most", name, len(content), size)
		}
		all += content
	}
	if there(s.path("out.4")) {
		t.Errorf("there are more than %d backups", backups)
	}
	got := strings.Split(strings.TrimSuffix(all, "\n"), "\n")
	if len(got) < 3*size/64 {
		t.Errorf("%d lines are kept, want those of three full files at least", len(got))
	}
	for i, line := range got {
		if want := fmt.Sprintf("line %058d", lines-len(got)+i+1); line != want {
			t.Fatalf("line %d of the files is %q, want %q", i, line, want)
		}
	}
}

func TestCapturedFileIsReopened(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion_defaults]
startsecs = "0s"
log_max_size = "1MiB"
[companion.silent]
`+script("echo once; exec sleep 1000")+`
stdout = "@DIR/silent"
[companion.ticks]
`+script("while :; do echo tick; sleep 0.1; done")+`
stdout = "@DIR/ticks"
`)
	s.ready()
	for _, name := range []string{"silent", "ticks"} {
		s.awaitLines(name, 1)
	}
	// Nobody has to be told: the next lines show that the name leads elsewhere.
	s.rename(s.path("ticks"), s.path("ticks.moved"))
	s.awaitLines("ticks", 1)
	if err := os.Remove(s.path("ticks")); err != nil {
		t.Fatal(err)
	}
	s.awaitLines("ticks", 1)

	// Who prints nothing has a new file after the signal.
	s.rename(s.path("silent"), s.path("silent.moved"))
	s.signal(syscall.SIGUSR1)
	eventually(t, "the silent one's file is there again", func() bool { return there(s.path("silent")) })
	if got := readFile(t, s.path("silent.moved")); got != "once\n" {
		t.Errorf("the moved file holds %q", got)
	}
}

func TestLogsShowTheLastLinesKept(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.talker]
`+script("seq 1 300; exec sleep 1000")+`
stdout = "@DIR/out"
log_max_size = "1MiB"
startsecs = "0s"
[companion.untold]
command = ["sleep", "1000"]
startsecs = "0s"
`)
	s.ready()
	s.awaitLines("out", 300)
	got := strings.Fields(s.must("companion", "logs", "talker", "-n", "1000"))
	if len(got) != 256 || got[0] != "45" || got[255] != "300" {
		t.Errorf("logs shows %d lines: %v", len(got), got)
	}
	if got := strings.Fields(s.must("logs", "talker", "-n", "2")); fmt.Sprint(got) != "[299 300]" {
		t.Errorf("the last two lines are %v", got)
	}
	if res := s.run("logs", "untold"); res.code != 1 || !strings.Contains(res.stderr, "not captured") {
		t.Errorf("logs of what is not captured: exit code %d, %s", res.code, res.stderr)
	}
}

// follower is a `gofork logs -f` that a test reads.
type follower struct {
	t      testing.TB
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

func (s *server) followLogs(args ...string) *follower {
	s.t.Helper()
	f := &follower{t: s.t, cmd: exec.Command(binary(s.t), slices.Concat([]string{"logs", "-f"}, args, []string{"-s", s.sock})...)}
	f.cmd.Env = append(cleanEnv(), markEnv+"="+s.id)
	f.cmd.Stderr = &f.stderr
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	f.lines = bufio.NewScanner(stdout)
	return f
}

// next is the line that comes next.
func (f *follower) next() string {
	f.t.Helper()
	if !f.lines.Scan() {
		f.t.Fatalf("the follower shows no more lines: %v %s", f.lines.Err(), &f.stderr)
	}
	return f.lines.Text()
}

// ended expects no more lines, and a good end.
func (f *follower) ended() {
	f.t.Helper()
	if f.lines.Scan() {
		f.t.Errorf("after the end the follower shows %q", f.lines.Text())
	}
	if err := f.cmd.Wait(); err != nil {
		f.t.Errorf("the follower ended with %v: %s", err, &f.stderr)
	}
}

// The name of a companion means all of its instances, here too.
func TestLogsOfSeveralInstancesAreLabelled(t *testing.T) {
	t.Parallel()
	s := start(t, `
[companion.talker]
`+script(`trap "echo heard" USR1; echo one; echo $GOFORK_INSTANCE; while :; do sleep 0.05; done`)+`
numprocs = 2
stdout = "@DIR/out"
log_max_size = "1MiB"
startsecs = "0s"
`)
	s.ready()
	s.awaitLines("out", 4)
	for args, want := range map[string]string{
		"talker":      "talker | one\ntalker | 1\ntalker:2 | one\ntalker:2 | 2\n",
		"talker -n 1": "talker | 1\ntalker:2 | 2\n",
		"talker:1":    "one\n1\n",
		"talker:2":    "one\n2\n",
	} {
		if got := s.must(append([]string{"logs"}, strings.Fields(args)...)...); got != want {
			t.Errorf("logs %s shows %q, want %q", args, got, want)
		}
	}
	f := s.followLogs("-n", "1", "talker")
	expect := func(want ...string) {
		t.Helper()
		var got []string
		for range want {
			got = append(got, f.next())
		}
		slices.Sort(got) // the instances do not wait for each other
		if !slices.Equal(got, want) {
			t.Errorf("the follower shows %q, want %q", got, want)
		}
	}
	expect("talker | 1", "talker:2 | 2")
	s.must("companion", "signal", "USR1", "talker:2")
	expect("talker:2 | heard")
	s.must("companion", "signal", "USR1", "talker")
	expect("talker | heard", "talker:2 | heard")
	s.stop(patience)
	f.ended()
}

// A follower gets what comes at once, and what is said last: the stop of gofork is
// the end of its stream, not a failure of it.
func TestFollowerOfLogsGetsBurstsAndLastWords(t *testing.T) {
	t.Parallel()
	const burst = 100_000
	s := start(t, `
[companion.talker]
`+script(fmt.Sprintf(`trap "seq 1 %d; echo done" USR1; trap "seq 1 1000; echo goodbye; exit" TERM; echo hello; while :; do sleep 0.05; done`, burst))+`
stdout = "@DIR/out"
log_max_size = "1GiB"
startsecs = "0s"
`)
	s.ready()
	s.awaitLines("out", 1)
	f := s.followLogs("talker")
	expect := func(want string) {
		t.Helper()
		if got := f.next(); got != want {
			t.Fatalf("the follower shows %q, want %q", got, want)
		}
	}
	expect("hello")
	s.must("companion", "signal", "USR1", "talker")
	for n := range burst {
		expect(fmt.Sprint(n + 1))
	}
	expect("done")
	s.stop(patience)
	for n := range 1000 {
		expect(fmt.Sprint(n + 1))
	}
	expect("goodbye")
	f.ended()
}

// Descriptors are rights: a companion has those it was given, and no more.
func TestCompanionHoldsNothingOfOthers(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello+`
[companion_defaults]
startsecs = "0s"
stdout = "log"
stderr = "log"
[companion.one]
command = ["sleep", "1000"]
numprocs = 2
[companion.ticker]
target = "ticker"
`)
	st := s.ready()
	pipes := map[string]string{} // to whom it belongs
	for _, c := range st.Companions {
		for fd, target := range settledDescriptors(t, c.PID) {
			switch {
			case strings.HasPrefix(target, "socket:"):
				t.Errorf("%s has the socket %s as descriptor %d", c.ID(), target, fd)
			case strings.HasPrefix(target, "pipe:"):
				if owner := pipes[target]; owner != "" && owner != c.ID() {
					t.Errorf("%s and %s share %s", owner, c.ID(), target)
				}
				pipes[target] = c.ID()
			case fd > 2 && c.Name != "ticker": // the Go runtime has its epoll
				t.Errorf("%s has %s as descriptor %d", c.ID(), target, fd)
			}
		}
	}
	if own := descriptors(t, s.pid()); pipes[own[1]] != "" || pipes[own[2]] != "" {
		t.Errorf("%s holds gofork's own output", pipes[own[1]]+pipes[own[2]])
	}
	if len(pipes) < len(st.Companions) {
		t.Errorf("the companions have the pipes %v", pipes)
	}
	if c := companion(t, st, "ticker"); c.State != control.Running {
		t.Errorf("the ticker is %+v", c)
	}
}
