package arbiter

import (
	"log/slog"
	"syscall"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// action is an order of the core. The set is closed.
type action interface{ action() }

type (
	startWorker struct {
		id
		generation *generation
	}
	signalWorker struct { // the leader alone
		id
		signal syscall.Signal
	}
	signalWorkerGroup struct {
		id
		signal syscall.Signal
	}

	startManager  struct{ attempt int }
	signalManager struct {
		attempt int
		signal  syscall.Signal
	}
	tellManager struct {
		attempt int
		message link.Message
	}

	// watchAdopted makes the end of a group known that a dead manager has left;
	// its outcome is adoptedGroupEnded, at once when it has ended already.
	watchAdopted  struct{ group int }
	signalAdopted struct {
		group  int
		whole  bool // the group, not only its leader
		signal syscall.Signal
	}

	// closeListeners lets the listening sockets go.
	closeListeners struct{}
	// tellSystemd sends a state to the supervisor above, as sd_notify(3).
	tellSystemd struct{ state string }
	record      struct {
		level   slog.Level
		event   string
		message string
		attrs   []slog.Attr
	}
	// reply answers who asked with that token.
	reply struct {
		token uint64
		value any
	}
	// replyFollow answers with a picture and the events after it: being one action
	// in the order of all, it falls between two events.
	replyFollow struct {
		token  uint64
		status *control.Status
	}
	// finish ends the arbiter: nothing that it was told of lives any more.
	finish struct{ code int }
)

func (startWorker) action()       {}
func (signalWorker) action()      {}
func (signalWorkerGroup) action() {}
func (startManager) action()      {}
func (signalManager) action()     {}
func (tellManager) action()       {}
func (watchAdopted) action()      {}
func (signalAdopted) action()     {}
func (closeListeners) action()    {}
func (tellSystemd) action()       {}
func (record) action()            {}
func (reply) action()             {}
func (replyFollow) action()       {}
func (finish) action()            {}
