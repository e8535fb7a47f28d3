//go:build linux

package test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// markEnv is in the environment of gofork and so of everything it starts. Its
// value names the test; its presence turns this binary into a child process.
const markEnv = "E2E_ID"

func TestMain(m *testing.M) {
	if os.Getenv(markEnv) != "" {
		os.Exit(childMain(os.Args[1:]))
	}
	flag.Parse()
	// These tests wait for other processes far more than they compute, so more
	// of them run at once than there are processors.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("8"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	dir, err := os.MkdirTemp("", "gofork-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	// Other users run it, too.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	builtBinary = sync.OnceValues(func() (string, error) { return buildBinary(dir) })
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

// builtBinary returns the gofork under test, built at the first call.
var builtBinary func() (string, error)

func binary(t testing.TB) string {
	t.Helper()
	path, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func buildBinary(dir string) (string, error) {
	if given := os.Getenv("GOFORK_BIN"); given != "" {
		return filepath.Abs(given)
	}
	path := filepath.Join(dir, "gofork")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	args = append(args, "github.com/gofork/gofork/cmd/gofork")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build gofork: %w\n%s", err, out)
	}
	return path, nil
}

// skip ends the test unless CI says that nothing may be skipped.
func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("cannot run with CI=true: %s", why)
	}
	t.Skip(why)
}
