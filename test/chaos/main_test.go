//go:build linux

package chaos

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// markEnv is in the environment of gofork and so of all that it starts; its
// value names the run. It turns this binary into one of gofork's children.
const markEnv = "CHAOS_ID"

func TestMain(m *testing.M) {
	if os.Getenv(markEnv) != "" {
		os.Exit(childMain(os.Args[1:]))
	}
	flag.Parse()
	// Whatever gofork loses comes to this process, and is seen.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	dir, err := os.MkdirTemp("", "chaos-bin-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // gofork is another user
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	built = sync.OnceValues(func() (programs, error) { return build(dir) })
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

// programs are the gofork under test and its children, which is this binary.
type programs struct{ gofork, child string }

// built makes them at the first call.
var built func() (programs, error)

func build(dir string) (p programs, err error) {
	self, err := os.Executable()
	if err != nil {
		return p, err
	}
	p.child = filepath.Join(dir, "child")
	if err := copyProgram(p.child, self); err != nil {
		return p, err
	}
	if given := os.Getenv("GOFORK_BIN"); given != "" {
		given, err = filepath.Abs(given)
		if err != nil {
			return p, err
		}
		p.gofork = filepath.Join(dir, "gofork")
		return p, copyProgram(p.gofork, given)
	}
	p.gofork = filepath.Join(dir, "gofork")
	args := []string{"build", "-o", p.gofork}
	if raceEnabled {
		args = append(args, "-race")
	}
	args = append(args, "github.com/gofork/gofork/cmd/gofork")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return p, fmt.Errorf("cannot build gofork: %w\n%s", err, out)
	}
	return p, nil
}

func copyProgram(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Close()
}
