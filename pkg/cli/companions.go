package cli

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/spf13/cobra"
)

func (r *run) companionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "companion",
		Aliases: []string{"companions"},
		Short:   "Start, stop and watch companions",
		Long: "Companions are the processes beside the workers. NAME means all instances of\n" +
			"one, NAME:2 its second; without a name it is all companions.",
		Example: r.examples(
			"companion status",
			"companion restart rq          # and wait until it is up again",
			"companion signal HUP rq:2",
			"companion logs -f scheduler",
		),
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		r.companionStatusCommand(),
		r.actCommand(control.OpStart, "Start companions and wait until they are up", "companion start rq", "companion start --no-wait"),
		r.actCommand(control.OpStop, "Stop companions and wait until they are gone", "companion stop rq:2", "companion stop --timeout 10s rq"),
		r.actCommand(control.OpRestart, "Stop and start companions, wait until they are up", "companion restart rq scheduler"),
		r.signalCommand(),
		r.logsCommand(),
		r.rereadCommand(),
	)
	return cmd
}

func (r *run) companionStatusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "status [NAME…]",
		Short:             "Show companions; exit 3 unless all are RUNNING",
		Example:           r.examples("companion status", "companion status rq scheduler:2 --json"),
		ValidArgsFunction: r.completeNames,
		RunE: r.asking(func(ctx context.Context, c *control.Client, args []string) error {
			s, err := r.selected(ctx, c, args)
			if err != nil {
				return err
			}
			if err := r.showCompanions(s.Companions, asJSON); err != nil {
				return err
			}
			for i := range s.Companions {
				if s.Companions[i].State != control.Running {
					return r.quit(ExitNotRunning)
				}
			}
			return nil
		}),
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *run) showCompanions(all []control.Companion, asJSON bool) error {
	if asJSON {
		if all == nil {
			all = []control.Companion{}
		}
		return r.printJSON(companionList{all})
	}
	writeCompanions(r.stdio.Out, r.painter(), all)
	return nil
}

// waiting are the flags of an action on companions.
type waiting struct {
	asJSON  bool
	noWait  bool
	timeout time.Duration
}

func (w *waiting) flags(cmd *cobra.Command) {
	jsonFlag(cmd, &w.asJSON)
	cmd.Flags().BoolVar(&w.noWait, "no-wait", false, "do not wait until it is done")
	timeoutFlag(cmd, &w.timeout)
}

func (r *run) actCommand(op, short string, examples ...string) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:               op + " [NAME…]",
		Short:             short,
		Example:           r.examples(examples...),
		ValidArgsFunction: r.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.act(cmd.Context(), control.Action{Op: op, Wait: !w.noWait}, args, w)
		},
	}
	w.flags(cmd)
	return cmd
}

func (r *run) signalCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:     "signal SIGNAL NAME…",
		Short:   "Send a signal to companions",
		Example: r.examples("companion signal HUP rq", "companion signal USR1 rq:2 scheduler"),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("signal needs a signal and the companions that get it, such as: companion signal HUP rq")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []cobra.Completion{"HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "CONT", "STOP", "KILL"}, cobra.ShellCompDirectiveNoFileComp
			}
			return r.completeNames(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.act(cmd.Context(), control.Action{Op: control.OpSignal, Signal: args[0], Wait: true}, args[1:], w)
		},
	}
	jsonFlag(cmd, &w.asJSON)
	return cmd
}

// act does one thing to each target, all at the same time: stop windows must not
// add up. An unknown name is found before anything is done.
func (r *run) act(ctx context.Context, action control.Action, targets []string, w waiting) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := limited(ctx, w.timeout)
	defer cancel()
	all, err := c.Companions(ctx, "")
	if err != nil {
		return err
	}
	if _, err := pick(all, targets); err != nil {
		return err
	}
	if len(targets) == 0 {
		for i := range all {
			if !slices.Contains(targets, all[i].Name) {
				targets = append(targets, all[i].Name)
			}
		}
	}
	if action.Op == control.OpStop && action.Wait && len(targets) > manyTargets {
		// Each that waits has one of gofork's connections to itself: first all are
		// asked to stop, and then waited for, some at a time.
		begin := action
		begin.Wait = false
		actAll(ctx, c, begin, targets) // what fails fails again
	}
	done, errs := actAll(ctx, c, action, targets)
	if err := r.showCompanions(slices.Concat(done...), w.asJSON); err != nil {
		return err
	}
	code := ExitOK
	for _, err := range errs {
		if err != nil {
			r.complain(err)
			code = max(code, codeOf(err))
		}
	}
	return r.quit(code)
}

// manyTargets is half of the connections that gofork has for all.
const manyTargets = 32

// actAll does one thing to each target, all at the same time.
func actAll(ctx context.Context, c *control.Client, action control.Action, targets []string) ([][]control.Companion, []error) {
	done := make([][]control.Companion, len(targets))
	errs := make([]error, len(targets))
	var acting sync.WaitGroup
	for i, t := range targets {
		acting.Go(func() {
			a := action
			a.Name, a.Instance, _ = control.ParseTarget(t) // pick has parsed it
			done[i], errs[i] = c.Act(ctx, a)
		})
	}
	acting.Wait()
	return done, errs
}

func (r *run) rereadCommand() *cobra.Command {
	var f reloadFlags
	cmd := &cobra.Command{
		Use:     "reread",
		Short:   "Reload the companions alone; workers are not touched",
		Example: r.examples("companion reread", "companion reread --dry-run"),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.reload(cmd.Context(), true, f)
		},
	}
	f.add(cmd)
	return cmd
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, not %q", cmd.Name(), args[0])
	}
	return nil
}

func (r *run) logsCommand() *cobra.Command {
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use:     "logs NAME",
		Short:   "Show what a companion printed last",
		Long:    "Logs shows what a companion printed, as far as it goes through gofork. Of several\ninstances NAME means all, each line behind its own name; NAME:2 is the second alone.",
		Example: r.examples("logs rq", "logs -f -n 20 rq:2"),
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return usagef("logs needs the name of one companion, such as: logs rq")
			case lines < 0:
				return usagef("cannot show %d lines: must be at least 0", lines)
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return r.completeNames(cmd, args, toComplete)
		},
		RunE: r.asking(func(ctx context.Context, c *control.Client, args []string) error {
			text, err := c.Logs(ctx, args[0], lines, follow)
			if err != nil {
				return err
			}
			defer func() { _ = text.Close() }() // read to the end, or given up
			return r.copyOut(text)
		}),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "and what it prints from now on")
	cmd.Flags().IntVarP(&lines, "lines", "n", 100, "how many `LINES`")
	return cmd
}
