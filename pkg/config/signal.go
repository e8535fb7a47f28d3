package config

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const signalRule = `must be a signal: a name such as "TERM" or "SIGTERM", or a number`

// parseSignal reads a signal's name, with or without SIG, or number; 0 for the empty
// string where a key may be empty.
func (r *reader) parseSignal(k *Key, at, s string) (any, bool) {
	if s == "" && k.Default == "" {
		return syscall.Signal(0), true
	}
	sig, ok := signalNamed(s)
	switch {
	case !ok:
		return nil, r.bad(at, s, signalRule)
	case sig == syscall.SIGSTOP || sig == syscall.SIGKILL && k.Name != "stop_signal":
		return nil, r.bad(at, s, "must be a signal that a process can react to")
	}
	return sig, true
}

func (r *reader) parseOnReload(k *Key, at, s string) (any, bool) {
	if s == "restart" {
		return OnReload{Restart: true}, true
	}
	if slices.Contains(k.Enum, s) {
		return OnReload{}, true
	}
	sig, ok := signalNamed(s)
	if !ok || sig == syscall.SIGKILL || sig == syscall.SIGSTOP {
		r.problems = append(r.problems, Problem{
			Key: at, Value: show(s), Nearest: nearest(s, k.Enum),
			Rule: `must be "if-changed", "restart" or a signal such as "SIGHUP"`,
		})
		return nil, false
	}
	return OnReload{Signal: sig}, true
}

// signalNamed finds a signal of this platform.
func signalNamed(s string) (syscall.Signal, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		sig := syscall.Signal(n)
		realtime := runtime.GOOS == "linux" && n >= 34 && n <= 64 // they have no names
		return sig, n > 0 && (realtime || unix.SignalName(sig) != "")
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	sig := unix.SignalNum(name)
	return sig, sig != 0
}

// ParseSignal reads a signal as the file has it: a name with or without SIG, or
// a number of this platform.
func ParseSignal(s string) (syscall.Signal, error) {
	sig, ok := signalNamed(s)
	if !ok {
		return 0, fmt.Errorf("cannot use %q: %s", s, signalRule)
	}
	return sig, nil
}
