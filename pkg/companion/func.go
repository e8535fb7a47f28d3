package companion

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// Func is a companion compiled into the binary. It runs in a process of its own.
// Its context ends when the stop signal comes; to return nil then, or at any
// other time, is exit code 0, an error is logged and is exit code 1, and a panic
// is logged with its stack and is exit code 1.
type Func func(ctx context.Context, t Target) error

// Target is what a Func is told about itself.
type Target struct {
	Name     string         // of the companion
	Instance int            // from 1
	Options  map[string]any // its options table
	Logger   *slog.Logger
}

// TargetSpec is what the process of a Func is given by the manager.
type TargetSpec struct {
	Target     string         `json:"target"`
	Name       string         `json:"name"`
	Instance   int            `json:"instance"`
	Options    map[string]any `json:"options,omitempty"`
	StopSignal syscall.Signal `json:"stop_signal"`
}

// RunTarget is the main function of such a process. It returns the exit code.
func RunTarget(spec TargetSpec, run Func, logger *slog.Logger) (code int) {
	defer func() {
		if p := recover(); p != nil {
			logger.Error("companion panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			code = 1
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), spec.StopSignal, syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := run(ctx, Target{Name: spec.Name, Instance: spec.Instance, Options: spec.Options, Logger: logger})
	switch {
	case err == nil, ctx.Err() != nil && errors.Is(err, context.Canceled):
		return 0
	default:
		logger.Error("companion failed", "error", err.Error())
		return 1
	}
}
