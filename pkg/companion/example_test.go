package companion_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"github.com/gofork/gofork/pkg/companion"
)

// A companion in Go: a function that ends with its context, which is its stop signal.
func ExampleRunTarget() {
	warmup := func(_ context.Context, t companion.Target) error {
		if t.Options["cache"] == nil {
			return fmt.Errorf("cannot warm up: the option %q is missing", "cache")
		}
		t.Logger.Info("warm", "companion", t.Name, "instance", t.Instance)
		return nil // exit code 0: a companion with autorestart = "on-failure" is EXITED now
	}
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	spec := companion.TargetSpec{Target: "warmup", Name: "warmup", Instance: 1, StopSignal: syscall.SIGTERM}
	fmt.Println("exit code", companion.RunTarget(spec, warmup, logger))
	spec.Options = map[string]any{"cache": "products"}
	fmt.Println("exit code", companion.RunTarget(spec, warmup, logger))
	// Output:
	// level=ERROR msg="companion failed" error="cannot warm up: the option \"cache\" is missing"
	// exit code 1
	// level=INFO msg=warm companion=warmup instance=1
	// exit code 0
}
