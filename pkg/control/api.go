package control

import "time"

// Status is the answer to GET /v1/status: one consistent picture of the arbiter,
// its workers, the manager and the companions.
type Status struct {
	Name              string      `json:"name"`
	Version           string      `json:"version"`
	PID               int         `json:"pid"`
	State             string      `json:"state"` // starting, running, reloading, upgrading, stopping
	StartedAt         time.Time   `json:"started_at"`
	UptimeSeconds     float64     `json:"uptime_seconds"`
	Generation        int         `json:"generation"`
	Listeners         []string    `json:"listeners"`
	StopBudgetSeconds float64     `json:"stop_budget_seconds"`
	LastReload        *Reload     `json:"last_reload"`
	Workers           Workers     `json:"workers"`
	Manager           *Manager    `json:"manager"` // null without companions
	Companions        []Companion `json:"companions"`
}

// Reload is the result of a reload.
type Reload struct {
	At         time.Time        `json:"at"`
	OK         bool             `json:"ok"`
	Error      string           `json:"error"`
	Seconds    float64          `json:"seconds"`
	Companions CompanionsChange `json:"companions"`
	Plan       *Plan            `json:"plan,omitempty"` // of a dry run

	// NeedsRestart are keys that have changed and that a reload does not take up.
	NeedsRestart []string `json:"needs_restart,omitempty"`
}

// Plan is what a reload would do.
type Plan struct {
	Workers    string          `json:"workers"` // "new generation", "none"
	Listeners  []PlanListener  `json:"listeners"`
	Companions []PlanCompanion `json:"companions"`
}

// PlanListener is what a reload would do to one listening socket.
type PlanListener struct {
	Address string `json:"address"`
	Action  string `json:"action"` // "open", "close", "keep"
}

// PlanCompanion is what a reload would do to one companion.
type PlanCompanion struct {
	Name   string   `json:"name"`
	Action string   `json:"action"` // "start", "stop", "restart", "scale", "signal", "none"
	Keys   []string `json:"keys"`   // the keys that changed
}

// CompanionsChange names the companions (not instances) that a reload touched.
type CompanionsChange struct {
	Added     []string `json:"added"`
	Removed   []string `json:"removed"`
	Restarted []string `json:"restarted"`
	Unchanged []string `json:"unchanged"`
}

// What the whole of gofork is doing.
const (
	StateStarting  = "starting"
	StateRunning   = "running"
	StateReloading = "reloading"
	StateUpgrading = "upgrading"
	StateStopping  = "stopping"
)

// Workers is the web tier.
type Workers struct {
	Configured int      `json:"configured"` // wanted now, scaling included
	Ready      int      `json:"ready"`      // how many of them are
	List       []Worker `json:"list"`
}

// Worker states as they are shown.
const (
	WorkerBooting  = "booting"
	WorkerReady    = "ready"
	WorkerDraining = "draining"
	WorkerKilling  = "killing"
	WorkerBackoff  = "backoff"
)

// Worker is one live attempt of a slot, or a slot that waits in backoff (pid 0).
type Worker struct {
	Slot          int        `json:"slot"`
	Attempt       int        `json:"attempt"`
	PID           int        `json:"pid"`
	Generation    int        `json:"generation"`
	State         string     `json:"state"`
	StartedAt     *time.Time `json:"started_at"`
	UptimeSeconds float64    `json:"uptime_seconds"`
	Restarts      int        `json:"restarts"` // of the slot
	RSSBytes      int64      `json:"rss_bytes"`
	LastExit      *Exit      `json:"last_exit"` // of the slot
	NextRetryAt   *time.Time `json:"next_retry_at"`
	Status        string     `json:"status,omitempty"` // the worker's own STATUS=
}

// Exit is the end of a process.
type Exit struct {
	At       time.Time `json:"at"`
	Code     *int      `json:"code"`   // null when a signal ended it
	Signal   *string   `json:"signal"` // "SIGKILL"; null when it exited
	Expected bool      `json:"expected"`
	Reason   string    `json:"reason"` // "exited", "stopped", "cannot start: …"
}

// Manager states as they are shown.
const (
	ManagerStarting = "starting"
	ManagerRunning  = "running"
	ManagerStopping = "stopping"
	ManagerKilling  = "killing"
	ManagerBackoff  = "backoff"
	ManagerStopped  = "stopped"
)

// Manager is the companion manager's process.
type Manager struct {
	PID                int        `json:"pid"`
	State              string     `json:"state"`
	Restarts           int        `json:"restarts"`
	StopTimeoutSeconds float64    `json:"stop_timeout_seconds"`
	LastExit           *Exit      `json:"last_exit"`
	NextRetryAt        *time.Time `json:"next_retry_at"`
}

// Companion states.
const (
	Stopped  = "STOPPED"
	Starting = "STARTING"
	Running  = "RUNNING"
	Backoff  = "BACKOFF"
	Stopping = "STOPPING"
	Exited   = "EXITED"
	Fatal    = "FATAL"
)

// What is wanted of an instance.
const (
	Up   = "up"
	Down = "down"
)

// Companion is one instance of a companion.
type Companion struct {
	Name          string     `json:"name"`
	Instance      int        `json:"instance"`
	State         string     `json:"state"`
	Desired       string     `json:"desired"` // up, down
	PID           int        `json:"pid"`
	Hash          string     `json:"hash"`
	StartedAt     *time.Time `json:"started_at"`
	UptimeSeconds float64    `json:"uptime_seconds"`
	Restarts      int        `json:"restarts"`
	Exits         int        `json:"exits"`
	Failures      int        `json:"failures"`   // in a row
	StopKills     int        `json:"stop_kills"` // stops that needed SIGKILL
	LastExit      *Exit      `json:"last_exit"`
	NextRetryAt   *time.Time `json:"next_retry_at"`
	Description   string     `json:"description"`
	Essential     bool       `json:"essential,omitempty"` // gofork stops when it ends for good
}

// ID returns how people name the instance: NAME for the first, NAME:2 for the second.
func (c *Companion) ID() string { return InstanceID(c.Name, c.Instance) }

// Error is the body of every answer that is not 2xx.
type Error struct {
	Status  int    `json:"-"` // HTTP status
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// StopRequest is the body of POST /v1/stop.
type StopRequest struct {
	Quick bool `json:"quick"`
}
