package companion

import (
	"log/slog"
	"syscall"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/link"
)

// action is an order of the core. The set is closed.
type action interface{ action() }

type (
	// startProcess runs one attempt, once and only if core.due says so when its
	// turn comes. Its outcome, processStarted or processExited, is the next event
	// then.
	startProcess struct {
		id
		spec *config.Companion
	}
	// signalProcess sends to the leader alone.
	signalProcess struct {
		id
		signal syscall.Signal
	}
	// signalGroup sends to the whole process group of the attempt.
	signalGroup struct {
		id
		signal syscall.Signal
	}
	// measureProcess asks for the leader's memory; the outcome is processMeasured.
	measureProcess struct{ id }
	// record is a line of the log and an event of the stream.
	record struct {
		level   slog.Level
		event   string
		message string
		attrs   []slog.Attr
		// output asks for the last lines that this instance has printed, which
		// only the edge knows; zero = do not.
		output key
		// survivors asks for the pids that still live in the attempt's group, which
		// only the edge knows; zero = do not.
		survivors id
		more      bool // of the message, see [link.Message]
	}
	// send is a message to the arbiter.
	send struct{ message link.Message }
	// forget releases what is kept for an instance that is no more.
	forget struct{ key }
	// finish ends the manager: nothing that it was told of lives any more.
	finish struct{}
)

func (startProcess) action()   {}
func (signalProcess) action()  {}
func (signalGroup) action()    {}
func (measureProcess) action() {}
func (record) action()         {}
func (send) action()           {}
func (forget) action()         {}
func (finish) action()         {}
