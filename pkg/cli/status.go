package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/gofork/gofork/pkg/control"
	"github.com/spf13/cobra"
)

func (r *run) statusCommand() *cobra.Command {
	var asJSON, check, watch bool
	cmd := &cobra.Command{
		Use:   "status [NAME…]",
		Short: "Show workers and companions",
		Example: r.examples(
			"status",
			"status rq scheduler:2   # only these",
			"status --watch          # redrawn as things happen",
			"status --check          # for a container's HEALTHCHECK: 0 when all is well, else 3",
		),
		ValidArgsFunction: r.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if watch && (asJSON || check) {
				return usagef("cannot use --watch with --json or --check: it shows a picture for people")
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if watch {
				return r.watch(cmd.Context(), c, args)
			}
			s, err := r.selected(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			v := view{status: s, companionsOnly: len(args) > 0}
			switch {
			case asJSON && v.companionsOnly:
				err = r.printJSON(companionList{s.Companions})
			case asJSON:
				err = r.printJSON(s)
			case !check:
				v.write(r.stdio.Out, r.painter())
			}
			if err != nil || !check {
				return err
			}
			return r.checkHealth(v, asJSON)
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&check, "check", false, "exit 3 unless all workers are ready and all companions RUNNING")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "redraw when something happens")
	return cmd
}

// companionList is the answer of the API, and of --json, to what is about companions.
type companionList struct {
	Companions []control.Companion `json:"companions"`
}

// selected asks for the status and keeps the companions that are asked for, all
// when none is.
func (r *run) selected(ctx context.Context, c *control.Client, targets []string) (*control.Status, error) {
	s, err := c.Status(ctx)
	if err != nil || len(targets) == 0 {
		return s, err
	}
	s.Companions, err = pick(s.Companions, targets)
	return s, err
}

// pick keeps the companions that the targets mean, each once, in the order of all.
func pick(all []control.Companion, targets []string) ([]control.Companion, error) {
	wanted := map[string]bool{}
	for _, t := range targets {
		name, instance, err := control.ParseTarget(t)
		if err != nil {
			return nil, usagef("%v", err)
		}
		found := control.Select(all, name, instance)
		if len(found) == 0 {
			return nil, control.UnknownCompanion(t)
		}
		for i := range found {
			wanted[found[i].ID()] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(c control.Companion) bool { return !wanted[c.ID()] }), nil
}

// checkHealth says what is not as it should be, and with which exit code.
func (r *run) checkHealth(v view, quiet bool) error {
	wrong := unhealthy(v)
	if !quiet {
		for _, w := range wrong {
			r.printf("%s\n", w)
		}
		if len(wrong) == 0 {
			r.printf("ok\n")
		}
	}
	if len(wrong) > 0 {
		return r.quit(ExitNotRunning)
	}
	return nil
}

// unhealthy lists what is not RUNNING or not ready. Two kinds of companions are
// as they were configured to be: one that was never to be started by itself, and
// one that has ended as it may.
func unhealthy(v view) []string {
	var wrong []string
	s := v.status
	if !v.companionsOnly {
		switch s.State {
		case control.StateRunning, control.StateReloading, control.StateUpgrading:
		default:
			wrong = append(wrong, "gofork is "+s.State)
		}
		if s.Workers.Ready < s.Workers.Configured {
			wrong = append(wrong, fmt.Sprintf("%d of %d workers are ready", s.Workers.Ready, s.Workers.Configured))
		}
	}
	for i := range s.Companions {
		c := &s.Companions[i]
		done := c.State == control.Exited && c.LastExit != nil && c.LastExit.Expected
		idle := c.State == control.Stopped && c.Desired == control.Down && c.Exits == 0
		if c.State != control.Running && !done && !idle {
			wrong = append(wrong, fmt.Sprintf("%s is %s: %s", c.ID(), c.State, c.Description))
		}
	}
	return wrong
}
