//go:build linux

package handoff_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/gofork/gofork/pkg/handoff"
)

// The test binary plays the other processes: "handoff.test child MODE ARG…".
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		os.Exit(child(os.Args[2], os.Args[3:]))
	}
	goleak.VerifyTestMain(m)
}

func child(mode string, args []string) int {
	switch mode {
	case "notify":
		if err := handoff.Notify(args[0], args[1]); err != nil {
			fmt.Println(err)
			return 1
		}
	case "notify-read":
		if err := handoff.NotifyRead(args[0], args[1]); err != nil {
			fmt.Println(err)
			return 1
		}
	case "take-over": // says what FromSystemd makes of our descriptors
		environ := os.Environ()
		if args[0] == "ours" {
			environ = append(environ, fmt.Sprint("LISTEN_PID=", os.Getpid()))
		}
		listeners, err := handoff.FromSystemd(environ)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		for _, l := range listeners {
			fmt.Println(l.FD(), l.Name(), l.Addr(), flags(l.FD()))
		}
	}
	return 0
}

// run returns what the child printed.
func run(t *testing.T, change func(*exec.Cmd), args ...string) string {
	t.Helper()
	c := exec.Command("/proc/self/exe", append([]string{"child"}, args...)...)
	c.Env = os.Environ()
	if change != nil {
		change(c)
	}
	c.Env = append(c.Env, "GORACE=atexit_sleep_ms=0") // else a second each under -race
	out, err := c.CombinedOutput()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
