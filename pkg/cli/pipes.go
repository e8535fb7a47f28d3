package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// outliveLogReaders keeps this process alive when whoever reads its standard
// output or error goes away: a write fails then, and is no reason to end. Go ends
// a program on SIGPIPE for descriptors 1 and 2 unless the signal is asked for. It
// must not be ignored instead: children would inherit that, and a pipeline in one
// of them would never end.
func outliveLogReaders() {
	pipes := make(chan os.Signal, 1) // nobody reads it: what does not fit is dropped
	signal.Notify(pipes, syscall.SIGPIPE)
}
