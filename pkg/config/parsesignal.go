package config

import (
	"fmt"
	"syscall"
)

// ParseSignal reads a signal as the file has it: a name with or without SIG, or
// a number of this platform.
func ParseSignal(s string) (syscall.Signal, error) {
	sig, ok := signalNamed(s)
	if !ok {
		return 0, fmt.Errorf("cannot use %q: %s", s, signalRule)
	}
	return sig, nil
}
