package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/spf13/cobra"
)

// reloadFlags are those of reload and reread.
type reloadFlags struct {
	dryRun  bool
	asJSON  bool
	timeout time.Duration
}

func (f *reloadFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only show what would change")
	jsonFlag(cmd, &f.asJSON)
	timeoutFlag(cmd, &f.timeout)
}

func (r *run) reloadCommand() *cobra.Command {
	var f reloadFlags
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Read the configuration again and start new workers",
		Long: "Reload is all or nothing: when the file has an error, or a new worker does not\n" +
			"get ready, the old ones go on serving and the exit code is 1.",
		Example: r.examples("reload --dry-run        # what would change", "reload"),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.reload(cmd.Context(), false, f)
		},
	}
	f.add(cmd)
	return cmd
}

func (r *run) reload(ctx context.Context, companionsOnly bool, f reloadFlags) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := limited(ctx, f.timeout)
	defer cancel()
	result, err := c.Reload(ctx, control.ReloadRequest{DryRun: f.dryRun, CompanionsOnly: companionsOnly})
	if err != nil {
		return err
	}
	switch {
	case f.asJSON:
		if err := r.printJSON(result); err != nil {
			return err
		}
	case !result.OK:
		r.complain(fmt.Errorf("%s", result.Error))
	case f.dryRun:
		r.printPlan(result)
		r.printNeedsRestart(result)
	default:
		r.printf("reloaded in %ss\n", strconv.FormatFloat(result.Seconds, 'f', 1, 64))
		r.printChange(result.Companions)
		r.printNeedsRestart(result)
	}
	if !result.OK {
		return r.quit(ExitFailed)
	}
	return nil
}

func (r *run) printChange(c control.CompanionsChange) {
	for _, part := range []struct {
		what  string
		names []string
	}{{"added", c.Added}, {"removed", c.Removed}, {"restarted", c.Restarted}, {"unchanged", c.Unchanged}} {
		if len(part.names) > 0 {
			r.printf("%-9s  %s\n", part.what, strings.Join(part.names, ", "))
		}
	}
}

func (r *run) printNeedsRestart(result *control.Reload) {
	if len(result.NeedsRestart) > 0 {
		r.printf("not before a restart: %s\n", strings.Join(result.NeedsRestart, ", "))
	}
}

func (r *run) printPlan(result *control.Reload) {
	if result.Plan == nil {
		r.printChange(result.Companions)
		return
	}
	p := result.Plan
	var rows [][]cell
	if p.Workers != "" {
		rows = append(rows, []cell{{text: "workers"}, {}, {text: p.Workers}})
	}
	for _, l := range p.Listeners {
		rows = append(rows, []cell{{text: "listener"}, {text: l.Address}, {text: l.Action}})
	}
	for _, c := range p.Companions {
		keys := ""
		if len(c.Keys) > 0 {
			keys = "(" + strings.Join(c.Keys, ", ") + ")"
		}
		rows = append(rows, []cell{{text: "companion"}, {text: c.Name}, {text: c.Action}, {text: keys}})
	}
	table(r.stdio.Out, r.painter(), rows)
}

func (r *run) scaleCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "scale N|+N|-N",
		Short:   "Change the number of workers",
		Example: r.examples("scale 4     # four workers", "scale +1    # one more", "scale -2    # two less"),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("scale needs one number, such as 4, +1 or -1")
			}
			_, err := parseScale(args[0])
			return err
		},
		RunE: r.asking(func(ctx context.Context, c *control.Client, args []string) error {
			request, err := parseScale(args[0])
			if err != nil {
				return err
			}
			workers, err := c.Scale(ctx, request)
			if err != nil {
				return err
			}
			if asJSON {
				return r.printJSON(workers)
			}
			r.printf("workers %d wanted, %d ready\n", workers.Configured, workers.Ready)
			return nil
		}),
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func parseScale(s string) (control.ScaleRequest, error) {
	n, err := strconv.Atoi(s)
	relative := strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-")
	switch {
	case err != nil, relative && n == 0:
		return control.ScaleRequest{}, usagef("cannot scale to %q: must be a number such as 4, +1 or -1", s)
	case relative:
		return control.ScaleRequest{Delta: &n}, nil
	case n < 1:
		return control.ScaleRequest{}, usagef("cannot scale to %d workers: must be at least 1", n)
	}
	return control.ScaleRequest{Workers: &n}, nil
}

func (r *run) reopenCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "reopen",
		Short:   "Open the log files again, after they were moved",
		Example: r.examples("reopen      # in logrotate's postrotate"),
		Args:    noArgs,
		RunE: r.asking(func(ctx context.Context, c *control.Client, _ []string) error {
			return c.Reopen(ctx)
		}),
	}
}

func (r *run) stopCommand() *cobra.Command {
	var quick bool
	cmd := &cobra.Command{
		Use:     "stop",
		Short:   "Stop gofork and everything it runs",
		Long:    "Stop begins a graceful stop and returns; gofork is gone after its stop budget at\nthe latest.",
		Example: r.examples("stop", "stop --quick     # what is left after 5 s is killed"),
		Args:    noArgs,
		RunE: r.asking(func(ctx context.Context, c *control.Client, _ []string) error {
			return c.Stop(ctx, control.StopRequest{Quick: quick})
		}),
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "do not wait for requests being served")
	return cmd
}

func (r *run) upgradeCommand() *cobra.Command {
	var asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Start the new binary beside the running one",
		Long: "Upgrade starts the gofork that is on disk now, on the same sockets. When it is\n" +
			"ready, stop the old one to promote it, or the new one to go back.",
		Example: r.examples("upgrade", "stop        # the old one: the new one takes over"),
		Args:    noArgs,
		RunE: r.asking(func(ctx context.Context, c *control.Client, _ []string) error {
			ctx, cancel := limited(ctx, timeout)
			defer cancel()
			result, err := c.Upgrade(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return r.printJSON(result)
			}
			r.printf("new gofork is ready: pid %d, socket %s\n", result.PID, result.Socket)
			return nil
		}),
	}
	jsonFlag(cmd, &asJSON)
	timeoutFlag(cmd, &timeout)
	return cmd
}

// copyOut passes a stream on to standard output.
func (r *run) copyOut(text io.Reader) error {
	_, err := io.Copy(r.stdio.Out, text)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("cannot show all of it: gofork broke it off, as it does when its reader is too slow")
	case err != nil:
		return fmt.Errorf("cannot show all of it: %w", err)
	}
	return nil
}
