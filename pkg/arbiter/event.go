package arbiter

import (
	"syscall"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// id is one attempt of a worker slot. A pid is never an identity.
type id struct {
	slot    int
	attempt int
}

// key names an instance of a companion.
type key struct {
	name   string
	number int
}

// event is a fact that the core has to know. The set is closed.
type event interface{ event() }

type (
	// began is the first event: the sockets are open.
	began struct{}

	workerStarted struct {
		id
		pid int
	}
	// workerExited is the end of a worker's leader, or a start that failed.
	workerExited struct {
		id
		status     exitStatus
		groupAlive bool
	}
	workerGroupEnded struct{ id }
	// workerSaid is a notify message of a worker, or of a member of its group.
	workerSaid struct {
		id
		ready, beat bool
		stopping    bool // it ends, without having been asked by the arbiter
		status      string
		recycle     string // why it asks to be replaced
	}

	managerStarted struct {
		attempt int
		pid     int
	}
	// managerHeld is what became of a start: by is the pid of a gofork that was
	// killed and whose manager lives.
	managerHeld struct {
		attempt int
		by      int
	}
	// managerExited comes after everything that the manager had said, and
	// after its line has ended.
	managerExited struct {
		attempt int
		status  exitStatus
		// strays are companions that nobody had reported: the manager died
		// between a start and its report.
		strays []stray
	}
	managerSaid struct {
		attempt int
		message link.Message
	}
	// adoptedExited is the end of the leader of a dead manager's companion.
	adoptedExited struct {
		group  int
		status exitStatus
	}
	adoptedGroupEnded struct{ group int }

	// workerMeasured is the memory of a worker, in bytes.
	workerMeasured struct {
		id
		rss int64
	}

	// reloadAsked wants the configuration to be read again.
	reloadAsked struct {
		token uint64 // who waits for the result; 0 = nobody
		by    string
		only  bool // companions alone (reread)
		dry   bool // say what would be done
	}
	// configLoaded is the outcome of loadConfig: a configuration whose new
	// listeners are open, or why there is none.
	configLoaded struct {
		number    int
		token     uint64 // of a dry run
		config    *config.Config
		listeners []string
		plan      *control.Plan
		err       string
	}
	// upgradeAsked wants a new arbiter beside this one.
	upgradeAsked struct {
		token uint64 // who waits for it to be ready; 0 = nobody
		by    string
	}
	// upgradeStarted is the outcome of startUpgrade.
	upgradeStarted struct {
		pid int
		err string
	}
	upgradeReady  struct{}
	upgradeExited struct{ status exitStatus }
	// parentGone: neither the older arbiter nor its manager lives any more.
	parentGone struct{}
	// parkAsked wants the workers away and everything else to stay (WINCH).
	parkAsked struct{ by string }

	// scaleAsked wants another number of workers.
	scaleAsked struct {
		token uint64
		to    int // 0: by delta
		delta int
		by    string
	}
	// reopenAsked makes workers and the manager reopen their log files.
	reopenAsked struct{}

	// stopAsked ends everything: a signal, a request.
	stopAsked struct {
		quick bool
		by    string // "SIGTERM", "request"
		token uint64 // who waits for the stop to begin; 0 = nobody
	}
	// statusAsked wants a picture, with follow also every event after it.
	statusAsked struct {
		token  uint64
		follow bool
	}
	// actAsked is a user's request for a companion; its answer is an *control.Error or nil.
	actAsked struct {
		token uint64
		act   link.Act
	}

	timePassed struct{}
)

// stray is the process group of an instance, known from its environment.
type stray struct {
	key
	group int
}

func (began) event()             {}
func (workerStarted) event()     {}
func (workerExited) event()      {}
func (workerGroupEnded) event()  {}
func (workerSaid) event()        {}
func (managerStarted) event()    {}
func (managerHeld) event()       {}
func (managerExited) event()     {}
func (managerSaid) event()       {}
func (adoptedExited) event()     {}
func (adoptedGroupEnded) event() {}
func (workerMeasured) event()    {}
func (reloadAsked) event()       {}
func (configLoaded) event()      {}
func (upgradeAsked) event()      {}
func (upgradeStarted) event()    {}
func (upgradeReady) event()      {}
func (upgradeExited) event()     {}
func (parentGone) event()        {}
func (parkAsked) event()         {}
func (scaleAsked) event()        {}
func (reopenAsked) event()       {}
func (stopAsked) event()         {}
func (statusAsked) event()       {}
func (actAsked) event()          {}
func (timePassed) event()        {}

// exitStatus is how a process ended: by a signal, with a code, or never begun.
type exitStatus struct {
	code       int
	signal     syscall.Signal // 0 = exited
	core       bool
	oom        bool   // the kernel's count of processes killed for memory rose with it
	startError string // it could not be started; code is then 126 or 127
}
