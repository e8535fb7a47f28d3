package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/spf13/cobra"
)

func (r *run) eventsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happens, as it happens",
		Long:  "Events are the lifecycle records of the log, from now on, one a line, until\ngofork ends.",
		Example: r.examples(
			"events",
			`events --json | jq 'select(.event == "companion.exited")'`,
		),
		Args: noArgs,
		RunE: r.asking(func(ctx context.Context, c *control.Client, _ []string) error {
			began, events, err := c.Events(ctx)
			if err != nil {
				return err
			}
			p := r.painter()
			for e := range events {
				if asJSON {
					line, err := json.Marshal(e)
					if err != nil {
						return fmt.Errorf("cannot write the event as JSON: %w", err)
					}
					r.printf("%s\n", line)
					continue
				}
				r.printf("%s\n", eventLine(e, p))
			}
			return cutShort(ctx, c, began)
		}),
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// cutShort tells, when a stream of events has ended, whether its gofork has: one that
// goes on has dropped a reader that was too slow.
func cutShort(ctx context.Context, c *control.Client, began *control.Status) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // one that is ending may not answer any more
	defer cancel()
	if s, err := c.Status(ctx); err == nil && s.PID == began.PID && s.StartedAt.Equal(began.StartedAt) {
		return errors.New("cannot show more events: this reader was too slow for them")
	}
	return nil
}

// eventLine is an event for people: when, how bad, what, about what.
func eventLine(e control.Event, p paint) string {
	color := ""
	switch e.Level {
	case "WARN":
		color = yellow
	case "ERROR":
		color = red
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %-20s %s", e.Time.Local().Format(time.TimeOnly), p(color, fmt.Sprintf("%-5s", e.Level)), e.Event, e.Message)
	for _, key := range slices.Sorted(maps.Keys(e.Attrs)) {
		value := fmt.Sprint(e.Attrs[key])
		if n, ok := e.Attrs[key].(float64); ok {
			// JSON has no whole numbers, but pids are; of seconds, thousandths are enough.
			value = strconv.FormatFloat(math.Round(n*1000)/1000, 'f', -1, 64)
		}
		if value == "" || strings.ContainsAny(value, " \"=\n\t") {
			value = fmt.Sprintf("%q", value)
		}
		fmt.Fprintf(&b, " %s=%s", key, value)
	}
	return b.String()
}
