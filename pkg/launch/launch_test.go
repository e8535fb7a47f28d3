package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/proc"
)

func TestLaterLayersOfTheEnvironmentWin(t *testing.T) {
	user := &config.Credential{UID: 1000, Login: "app", Home: "/home/app"}
	for _, tt := range []struct {
		name       string
		own        []string
		credential *config.Credential
		env        map[string]string
		told       []string
		want       []string
	}{
		{name: "own alone", own: []string{"PATH=/bin", "A=1"}, want: []string{"PATH=/bin", "A=1"}},
		{name: "configured over own", own: []string{"A=1", "B=2"}, env: map[string]string{"A": "c"}, want: []string{"A=c", "B=2"}},
		{name: "told over configured", env: map[string]string{"GOFORK_PID": "mine"}, told: []string{"GOFORK_PID=7"}, want: []string{"GOFORK_PID=7"}},
		{name: "the last of duplicates", own: []string{"A=1", "A=2"}, want: []string{"A=2"}},
		{name: "empty and odd values", own: []string{"E=", "Q=a=b", "broken"}, want: []string{"E=", "Q=a=b"}},
		{name: "new ones in a fixed order", env: map[string]string{"Z": "1", "M": "2", "A": "3"}, want: []string{"A=3", "M=2", "Z=1"}},
		{
			name: "home of the user", own: []string{"HOME=/root", "USER=root"}, credential: user,
			want: []string{"HOME=/home/app", "USER=app", "LOGNAME=app"},
		},
		{
			name: "configured over the user's", own: []string{"HOME=/root"}, credential: user, env: map[string]string{"HOME": "/srv"},
			want: []string{"HOME=/srv", "USER=app", "LOGNAME=app"},
		},
		{
			name: "a uid without a passwd entry", own: []string{"HOME=/root", "USER=root"}, credential: &config.Credential{UID: 12345},
			want: []string{"HOME=/root", "USER=root"},
		},
		{
			name: "what was meant for gofork alone",
			own: []string{
				"LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=x", "NOTIFY_SOCKET=/run/systemd", "WATCHDOG_USEC=1", "WATCHDOG_PID=1",
				"GOFORK_FD=3", "GOFORK_ROLE=manager", "GOFORK_SPEC={}", "GOFORK_WORKER__COUNT=4", "KEEP=1",
			},
			told: []string{"NOTIFY_SOCKET=/run/ours"},
			want: []string{"KEEP=1", "NOTIFY_SOCKET=/run/ours"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := NewEnvironment(tt.own).Of(&config.Process{Env: tt.env, Credential: tt.credential}, tt.told...)
			slices.Sort(got)
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// Two children with the same keys get the same bytes.
func TestEnvironmentIsDeterministic(t *testing.T) {
	p := &config.Process{Env: map[string]string{"C": "3", "A": "1", "B": "2", "D": "4"}}
	e := NewEnvironment([]string{"X=1", "B=own"})
	want := []string{"X=1", "B=2", "A=1", "C=3", "D=4", "T=1"}
	for range 50 {
		if got := e.Of(p, "T=1"); !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestCommandCarriesEverySetting(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prog"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	p := &config.Process{
		Cwd: dir, Umask: 0o27, NoNewPrivs: true, Nice: 5, OOMScoreAdj: 100,
		Credential: &config.Credential{UID: 1, GID: 2, Groups: []uint32{3}},
		Rlimits:    []config.Rlimit{{Name: "nofile", Resource: 7, Soft: 10, Hard: config.RlimInfinity}},
	}
	c, err := Command(p, []string{"./prog", "x"}, []string{"A=1"})
	if err != nil {
		t.Fatal(err)
	}
	want := proc.Command{
		Path: filepath.Join(dir, "prog"), Args: []string{"./prog", "x"}, Env: []string{"A=1"}, Dir: dir,
		Umask: 0o27, NoNewPrivs: true, Nice: 5, OOMScoreAdj: 100,
		Credential: &proc.Credential{UID: 1, GID: 2, Groups: []uint32{3}},
		Rlimits:    []proc.Rlimit{{Name: "nofile", Resource: 7, Soft: 10, Hard: ^uint64(0)}},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if self := Self(p, "/bin/gofork", "gofork: worker 1", nil); self.Path != "/bin/gofork" || !slices.Equal(self.Args, []string{"gofork: worker 1"}) {
		t.Errorf("%+v", self)
	}
	if c := Self(&config.Process{Umask: config.Inherit}, "/x", "x", nil); c.Umask != proc.InheritUmask || c.Credential != nil {
		t.Errorf("%+v", c)
	}
}

// A program is looked up in the PATH that it will have itself.
func TestProgramIsLookedUpInTheChildsPath(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prog"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	p := &config.Process{Env: map[string]string{"PATH": dir}}
	c, err := Command(p, []string{"prog"}, NewEnvironment([]string{"PATH=/nowhere"}).Of(p))
	if err != nil || c.Path != filepath.Join(dir, "prog") {
		t.Errorf("%q, %v", c.Path, err)
	}
}

// A failed start looks as a shell would tell it.
func TestFailuresHaveAShellsCodeAndASentence(t *testing.T) {
	_, missing := Command(&config.Process{}, []string{"no-such-program"}, []string{"PATH=/nowhere"})
	_, empty := Command(&config.Process{}, []string{""}, nil)
	_, directory := Command(&config.Process{}, []string{t.TempDir()}, nil)
	for _, tt := range []struct {
		err    error
		code   int
		reason string
	}{
		{missing, 127, `cannot find "no-such-program" in PATH`},
		{empty, 127, "cannot find a program: empty name: file does not exist"},
		{directory, 126, ""},
		{fmt.Errorf("cannot start x: %w", syscall.ENOENT), 127, "cannot start x: no such file or directory"},
		{fmt.Errorf("cannot start x: %w", fs.ErrPermission), 126, "cannot start x: permission denied"},
		{errors.New("fork: out of pids"), 126, "cannot start prog: fork: out of pids"},
	} {
		if got := FailureCode(tt.err); got != tt.code {
			t.Errorf("%v: code %d, want %d", tt.err, got, tt.code)
		}
		if got := FailureReason([]string{"prog", "arg"}, tt.err); tt.reason != "" && got != tt.reason {
			t.Errorf("reason %q, want %q", got, tt.reason)
		}
	}
	if got := FailureReason(nil, errors.New("it broke")); got != "cannot start the program: it broke" {
		t.Errorf("reason %q", got)
	}
}
