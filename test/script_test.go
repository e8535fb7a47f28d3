//go:build linux

package test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the cases of the command line, testdata/script/*.txtar.
// Beside testscript's own commands they have:
//
//	serve FILE          starts gofork with FILE and waits until it is ready;
//	                    sets SOCK (control socket), FILE and ADDR
//	code N PROGRAM …    runs a program that has to end with exit code N
//	problems REGEXP     the last program printed that, on either stream
//	waitstatus REGEXP   `gofork status --json` comes to match
//	until FILE REGEXP PROGRAM …   runs a program until FILE matches
func TestScripts(t *testing.T) {
	t.Parallel()
	gofork := binary(t)
	bin := t.TempDir()
	if err := os.Symlink(gofork, filepath.Join(bin, "gofork")); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			tb, ok := env.T().(testing.TB)
			if !ok {
				return errors.New("the script's T is no testing.TB")
			}
			env.Values[tbKey{}] = tb
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("REPOSITORY", repository(tb))
			env.Setenv("GORACE", "atexit_sleep_ms=0") // as in cleanEnv: each command would end a second later
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":      scriptServe,
			"code":       scriptCode,
			"problems":   scriptProblems,
			"waitstatus": scriptWaitStatus,
			"until":      scriptUntil,
		},
	})
}

// tbKey is the key of the script's testing.TB among its values.
type tbKey struct{}

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serve FILE")
	}
	tb, ok := ts.Value(tbKey{}).(testing.TB)
	if !ok {
		ts.Fatalf("no testing.TB")
	}
	s := start(tb, ts.ReadFile(args[0]))
	s.await("server.ready")
	ts.Setenv("SOCK", s.sock)
	ts.Setenv("FILE", s.file)
	ts.Setenv("ADDR", s.addr)
}

func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM [ARGUMENT…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), code, want)
	}
}

func scriptProblems(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: problems REGEXP")
	}
	printed := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	if regexp.MustCompile("(?m)"+args[0]).MatchString(printed) == neg {
		ts.Fatalf("the program printed\n%s", printed)
	}
}

func scriptWaitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitstatus REGEXP")
	}
	wanted := regexp.MustCompile(args[0])
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(patience); ; <-again.C {
		ts.Check(ts.Exec("gofork", "status", "--json", "-s", ts.Getenv("SOCK")))
		out := ts.ReadFile("stdout")
		if wanted.MatchString(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within %s; the last status is\n%s", patience, out)
		}
	}
}

// scriptUntil is for what somebody notices only from some moment on that cannot be
// seen from here, as a follower of events does.
func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: until FILE REGEXP PROGRAM [ARGUMENT…]")
	}
	wanted := regexp.MustCompile(args[1])
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(patience); ; <-again.C {
		ts.Check(ts.Exec(args[2], args[3:]...))
		if seen, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && wanted.Match(seen) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not come to match %s within %s", args[0], args[1], patience)
		}
	}
}
