package arbiter

import (
	"log/slog"
	"syscall"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// stateReloading is a state for tellSystemd to which the moment is added.
const stateReloading = "RELOADING=1"

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

	// measureWorker asks for its memory; the outcome is workerMeasured.
	measureWorker struct{ id }

	// loadConfig reads the configuration again, beside the loop, and opens the
	// listeners that are new; its outcome is configLoaded.
	loadConfig struct {
		number  int    // of the generation that it would become
		token   uint64 // who asked for a dry run
		only    bool
		dry     bool
		current *config.Config
	}
	// retireListeners closes what belongs to none of these generations.
	retireListeners struct{ keep []int }

	// startUpgrade runs the hook pre_exec and, if it agrees, starts the new
	// arbiter; the outcome is upgradeStarted.
	startUpgrade struct{}
	// tellParent says to the older arbiter that this one serves.
	tellParent struct{}
	// promote gives this arbiter the names of the one that is gone: pidfile,
	// control socket, main process of the supervisor above.
	promote struct{}

	// retireSlot closes the sockets of a slot that nobody serves any more.
	retireSlot struct{ slot int }

	// watchFiles follows these globs, and no others.
	watchSources struct{ patterns []string }

	// runHook runs a hook beside everything else.
	runHook struct {
		name string
		env  []string
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
	closeListeners struct{ unlink bool }
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
func (measureWorker) action()     {}
func (loadConfig) action()        {}
func (retireListeners) action()   {}
func (startUpgrade) action()      {}
func (tellParent) action()        {}
func (promote) action()           {}
func (retireSlot) action()        {}
func (watchSources) action()      {}
func (runHook) action()           {}
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
