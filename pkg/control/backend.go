package control

import (
	"context"
	"io"
)

// Backend is what answers requests: the arbiter, or the manager for its part.
//
// Every method is safe for concurrent use and returns soon after its context has
// ended: with the context's error when that ended a wait (the work that was begun
// goes on). An error that is an [*Error] is answered as it is, any other as a 500.
type Backend interface {
	// Status answers at once from what is known: it never waits for another process.
	Status(ctx context.Context) (*Status, error)

	// Act does one thing to a companion and returns the instances that it concerned,
	// as they are afterwards. A start that ends in BACKOFF or FATAL is a conflict.
	Act(ctx context.Context, a Action) ([]Companion, error)

	// Reload returns what was done, or for a dry run what would be. A reload that
	// was tried and failed is a result whose OK is false, not an error.
	Reload(ctx context.Context, r ReloadRequest) (*Reload, error)

	// Scale returns as soon as the new count is wanted; it does not wait for ready workers.
	Scale(ctx context.Context, s ScaleRequest) (*Workers, error)

	// Stop returns as soon as the stop has begun.
	Stop(ctx context.Context, s StopRequest) error

	// Reopen returns when the log files were opened again.
	Reopen(ctx context.Context) error

	// Upgrade returns when the new arbiter is ready, or why it is not.
	Upgrade(ctx context.Context) (*UpgradeResult, error)

	// Config is the effective configuration with the file's keys, as something that
	// encoding/json can write; secrets are masked.
	Config(ctx context.Context) (any, error)

	// Events returns a snapshot and every event after it: none lost, none twice.
	// The channel is closed when ctx has ended, and when the reader was too slow.
	Events(ctx context.Context) (*Status, <-chan Event, error)

	// Logs returns the last lines that the target (NAME or NAME:2) printed, with
	// follow also what it prints until ctx ends. The caller closes the reader.
	Logs(ctx context.Context, target string, lines int, follow bool) (io.ReadCloser, error)
}

// What an [Action] can do.
const (
	OpStart   = "start"
	OpStop    = "stop"
	OpRestart = "restart"
	OpSignal  = "signal"
)

// Action is one thing to do to a companion.
type Action struct {
	Op       string // OpStart, OpStop, OpRestart, OpSignal
	Name     string
	Instance int    // 0 = all instances
	Signal   string // for OpSignal: a name with or without SIG, or a number, as the peer wrote it
	Wait     bool   // answer when it is done, not when it has begun
}

// Target is the action's companion as people write it: NAME for all instances, NAME:1 for the first.
func (a Action) Target() string { return Target(a.Name, a.Instance) }

// ReloadRequest says which kind of reload is asked for.
type ReloadRequest struct {
	DryRun         bool // only say what would change, in [Reload.Plan]
	CompanionsOnly bool // reread: the web tier is left alone
}

// ScaleRequest is the body of POST /v1/scale: exactly one of its fields.
type ScaleRequest struct {
	Workers *int `json:"workers,omitempty"` // from 1
	Delta   *int `json:"delta,omitempty"`
}

// UpgradeResult is the answer to POST /v1/upgrade.
type UpgradeResult struct {
	PID    int    `json:"pid"`    // the new arbiter
	Socket string `json:"socket"` // where it answers until it is promoted
}

// Unsupported is a [Backend] that can do nothing: every method answers 503
// not_supported. Embed it to implement the interface in part, as the manager does,
// which has no workers to scale.
type Unsupported struct{}

var _ Backend = Unsupported{}

func unsupported(what string) *Error {
	return Errorf(503, CodeNotSupported, "cannot %s: not supported here", what)
}

// Status answers not_supported.
func (Unsupported) Status(context.Context) (*Status, error) {
	return nil, unsupported("show the status")
}

// Act answers not_supported.
func (Unsupported) Act(_ context.Context, a Action) ([]Companion, error) {
	return nil, unsupported(a.Op + " " + a.Target())
}

// Reload answers not_supported.
func (Unsupported) Reload(context.Context, ReloadRequest) (*Reload, error) {
	return nil, unsupported("reload")
}

// Scale answers not_supported.
func (Unsupported) Scale(context.Context, ScaleRequest) (*Workers, error) {
	return nil, unsupported("scale the workers")
}

// Stop answers not_supported.
func (Unsupported) Stop(context.Context, StopRequest) error { return unsupported("stop") }

// Reopen answers not_supported.
func (Unsupported) Reopen(context.Context) error { return unsupported("reopen the log files") }

// Upgrade answers not_supported.
func (Unsupported) Upgrade(context.Context) (*UpgradeResult, error) {
	return nil, unsupported("upgrade")
}

// Config answers not_supported.
func (Unsupported) Config(context.Context) (any, error) {
	return nil, unsupported("show the configuration")
}

// Events answers not_supported.
func (Unsupported) Events(context.Context) (*Status, <-chan Event, error) {
	return nil, nil, unsupported("follow the events")
}

// Logs answers not_supported.
func (Unsupported) Logs(_ context.Context, target string, _ int, _ bool) (io.ReadCloser, error) {
	return nil, unsupported("show the logs of " + target)
}
