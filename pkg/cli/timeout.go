package cli

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gofork/gofork/pkg/control"
)

// timeoutValue is a flag that is written as durations in the file are: with a unit,
// or as a number of seconds.
type timeoutValue time.Duration

// Set implements pflag.Value.
func (t *timeoutValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if seconds, notNumber := strconv.ParseFloat(s, 64); notNumber == nil && math.Abs(seconds) < math.MaxInt64/float64(time.Second) {
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	if err != nil || d < 0 {
		return errors.New(`must be a duration such as "30s" or "5m", or a number of seconds`)
	}
	*t = timeoutValue(d)
	return nil
}

// String implements pflag.Value. None is "0", which help does not show as a default.
func (t *timeoutValue) String() string {
	if *t == 0 {
		return "0"
	}
	return time.Duration(*t).String()
}

// Type implements pflag.Value.
func (t *timeoutValue) Type() string { return "duration" }

func timeoutFlag(cmd *cobra.Command, to *time.Duration) {
	cmd.Flags().Var((*timeoutValue)(to), "timeout", "give up waiting after this `DURATION`; the work goes on")
}

// limited is a context that ends after the timeout, if there is one.
func limited(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout > 0 {
		return control.Within(ctx, timeout)
	}
	return context.WithCancel(ctx)
}
