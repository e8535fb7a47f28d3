package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unignoreSignals gives the signals that this process was started with as
// ignored (nohup, some container runtimes, shells without job control) their
// default disposition, for exec hands an ignored one on. Go installs its own
// handler over most, which exec resets; it respects an ignored HUP and INT, and
// has no handler for TSTP, TTIN, TTOU and CONT. Signals that the supervisor asks
// for by signal.Notify are not concerned: they have a handler then.
func unignoreSignals() error {
	ignored, err := ignoredSignals()
	if err != nil {
		return fmt.Errorf("cannot read the ignored signals: %w", err)
	}
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if ignored&(1<<(sig-1)) == 0 {
			continue
		}
		// struct sigaction of the kernel, large enough for every layout of it:
		// handler SIG_DFL, no flags, no restorer, an empty mask are all zero.
		var action [8]uint64
		const maskSize = 8
		if _, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig),
			uintptr(unsafe.Pointer(&action)), 0, maskSize, 0, 0); errno != 0 {
			return fmt.Errorf("cannot reset the ignored %s: %w", SignalName(sig), errno)
		}
	}
	return nil
}

// ignoredSignals returns the set of ignored signals, signal n as bit n-1.
func ignoredSignals() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, after, found := bytes.Cut(status, []byte("\nSigIgn:"))
	if !found {
		return 0, fmt.Errorf("no SigIgn in /proc/self/status")
	}
	line, _, _ := bytes.Cut(after, []byte("\n"))
	return strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
}
