package link

import (
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
)

// Message is one frame. Exactly one field is set, More apart.
type Message struct {
	// From the arbiter.
	Apply  *Apply  `json:"apply,omitempty"`
	Stop   *Stop   `json:"stop,omitempty"`
	Act    *Act    `json:"act,omitempty"`
	Reopen *Reopen `json:"reopen,omitempty"`
	Logs   *Logs   `json:"logs,omitempty"`

	// From the manager.
	Instance *Instance `json:"-"` // it has a form of its own: see wire
	Removed  *Removed  `json:"removed,omitempty"`
	Applied  *Applied  `json:"applied,omitempty"`
	Done     *Done     `json:"done,omitempty"`
	Final    *Final    `json:"final,omitempty"`
	Event    *Event    `json:"-"` // the same
	Lines    *Lines    `json:"lines,omitempty"`

	// More says that the next message, Lines apart, is of the same moment: a
	// picture between the two would show half of it.
	More bool `json:"more,omitempty"`
}

// Apply makes the manager run exactly these companions. It is idempotent, and
// the only operation that feeds the manager: at its start and at each reload.
type Apply struct {
	ID    uint64             `json:"id"`
	Specs []config.Companion `json:"specs"`
	// Remembered is what the arbiter knows of instances that an earlier manager
	// ran; empty when this manager has run all along.
	Remembered []Instance `json:"remembered,omitempty"`
	// Reload asks for what on_reload says of unchanged companions.
	Reload bool `json:"reload,omitempty"`
	// Window is the longest that a companion has to end before it starts afresh,
	// manager.reload_timeout, where its own is longer; 0 = it has its own.
	Window time.Duration `json:"window,omitempty"`
}

// Applied answers Apply, when everything that had to stop for it has ended and
// everything that had to start was started.
type Applied struct {
	ID     uint64                   `json:"id"`
	Change control.CompanionsChange `json:"change"`
}

// Stop ends all companions and then the manager. It has no answer but the end
// of the stream.
type Stop struct {
	Quick bool `json:"quick,omitempty"`
}

// Act is a request of a user for one companion (Instance 0: all of its instances).
type Act struct {
	ID       uint64         `json:"id"`
	Op       string         `json:"op"` // start, stop, restart, signal
	Name     string         `json:"name"`
	Instance int            `json:"instance,omitempty"`
	Signal   syscall.Signal `json:"signal,omitempty"`
	Wait     bool           `json:"wait,omitempty"`
}

// Done answers Act.
type Done struct {
	ID      uint64 `json:"id"`
	Code    string `json:"code,omitempty"` // of control.Error; "" = done
	Message string `json:"message,omitempty"`

	// Crashed is the instance whose last output belongs behind Message, "" = none.
	// The manager adds it before it sends, so it does not travel itself.
	Crashed         string `json:"-"`
	CrashedInstance int    `json:"-"`
}

// Reopen makes the manager reopen the files that it writes.
type Reopen struct{}

// LinesWindow is how many [Lines] of one follower may be on their way: sent, and
// not yet said to be taken.
const LinesWindow = 16

// Logs asks for the last lines of captured output, and with Follow for what
// comes after them, until a Logs with Cancel.
type Logs struct {
	ID       uint64 `json:"id"`
	Name     string `json:"name"`
	Instance int    `json:"instance,omitempty"`
	Lines    int    `json:"lines,omitempty"`
	Follow   bool   `json:"follow,omitempty"`
	Cancel   bool   `json:"cancel,omitempty"`
	// Taken is how many Lines the reader has taken since the last time: as many
	// more may be sent.
	Taken int `json:"taken,omitempty"`
}

// Lines answers Logs, once or (Follow) until End. Error says why there is nothing,
// or why it ends before the output does.
type Lines struct {
	ID    uint64         `json:"id"`
	Lines []string       `json:"lines,omitempty"`
	End   bool           `json:"end,omitempty"`
	Error *control.Error `json:"error,omitempty"`
}

// Instance is everything that the arbiter has to know of one instance: what
// status shows, and how to stop it should the manager die.
type Instance struct {
	control.Companion
	// Group is the process group of the living attempt, leader or leftover
	// members; 0 when nothing of the instance lives.
	Group       int            `json:"group,omitempty"`
	StopSignal  syscall.Signal `json:"stop_signal,omitempty"` // of the living attempt
	StopTimeout time.Duration  `json:"stop_timeout,omitempty"`
	StopGroup   bool           `json:"stop_group,omitempty"`
	// Piped are the descriptors of the leader that are pipes to the manager.
	Piped []int `json:"piped,omitempty"`
}

// Removed says that an instance is no more.
type Removed struct {
	Name     string `json:"name"`
	Instance int    `json:"instance"`
}

// Final says that an essential companion has ended for good: the arbiter stops
// everything and exits with Code.
type Final struct {
	Name     string `json:"name"`
	Instance int    `json:"instance"`
	Code     int    `json:"code"`
	Reason   string `json:"reason"`
}

// Event is a lifecycle event of the manager for the arbiter's event stream and hooks.
type Event struct {
	Time    time.Time
	Level   string
	Event   string
	Message string
	Attrs   Attrs
	// Lost is how many events before this one were dropped, because the arbiter
	// took none.
	Lost int
}
