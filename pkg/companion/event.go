package companion

import (
	"syscall"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// key names an instance: a companion and a number from 1.
type key struct {
	name   string
	number int
}

// id is one attempt to run an instance. A pid is never an identity: an event of
// an earlier attempt is ignored by construction.
type id struct {
	key
	attempt int
}

// event is a fact that the core has to know. The set is closed.
type event interface{ event() }

// aboutAttempt is a fact about one attempt. It changes no other instance.
type aboutAttempt interface {
	event
	about() id
}

func (a id) about() id { return a }

type (
	// applyAsked is the arbiter's apply(specs).
	applyAsked struct{ link.Apply }
	// actAsked is a user's request for a companion.
	actAsked struct{ link.Act }
	// shutdownAsked ends everything. It may be repeated, then quick.
	shutdownAsked struct {
		quick bool
		cause string
	}
	// processStarted says that an attempt has a pid.
	processStarted struct {
		id
		pid int
	}
	// processExited is the end of an attempt's leader, or a start that failed.
	processExited struct {
		id
		status exitStatus
		// groupAlive: members of its process group live on.
		groupAlive bool
	}
	// groupEnded says that nothing of an attempt lives any more, after a
	// processExited with groupAlive.
	groupEnded struct{ id }
	// readyReceived is READY=1 of a member of the attempt's group.
	readyReceived struct{ id }
	// processMeasured is the memory of an attempt's leader, in bytes.
	processMeasured struct {
		id
		rss int64
	}
	// timePassed says that a deadline may have come.
	timePassed struct{}
)

func (applyAsked) event()      {}
func (actAsked) event()        {}
func (shutdownAsked) event()   {}
func (processStarted) event()  {}
func (processExited) event()   {}
func (groupEnded) event()      {}
func (readyReceived) event()   {}
func (processMeasured) event() {}
func (timePassed) event()      {}

// exitStatus is how a process ended: by a signal, with a code, or never begun.
type exitStatus struct {
	code       int
	signal     syscall.Signal // 0 = exited
	core       bool           // a core was dumped
	startError string         // it could not be started at all; code is then 126 or 127
}

// shellCode is the status as a shell would give it: 128+n for a signal.
func (s exitStatus) shellCode() int {
	if s.signal != 0 {
		return 128 + int(s.signal)
	}
	return s.code
}

func (k key) String() string { return control.InstanceID(k.name, k.number) }
