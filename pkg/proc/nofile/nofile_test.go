//go:build linux && (amd64 || arm64)

package nofile_test

import (
	"fmt"
	"go/build"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/gofork/gofork/pkg/proc/nofile"
)

const asChild = "NOFILE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		var now syscall.Rlimit
		_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now)
		fmt.Println(nofile.AtStart.Soft, nofile.AtStart.Hard, now.Cur > nofile.AtStart.Soft)
		return
	}
	goleak.VerifyTestMain(m)
}

// These tests are outside of the package: what they import would come before it.
// A shell lowers the soft limit, Go raises it again, and we have seen what it was.
func TestLimitsAreThoseOfTheStart(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", `ulimit -Sn 321 && exec "$0"`, "/proc/self/exe")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args[3] = exe
	cmd.Env = append(os.Environ(), asChild+"=1")
	out, err := cmd.CombinedOutput()
	if want := fmt.Sprintln(321, nofile.AtStart.Hard, true); err != nil || string(out) != want {
		t.Errorf("%v: got %q, want %q (the last says that Go raised it)", err, out, want)
	}
}

func TestNothingIsImported(t *testing.T) {
	p, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Imports) > 0 {
		t.Errorf("imports %v: it would be initialised after them, and perhaps after syscall", p.Imports)
	}
}
