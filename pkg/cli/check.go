package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/spf13/cobra"
)

// finding is what check has to say of a file.
type finding struct {
	OK             bool             `json:"ok"`
	Problems       []config.Problem `json:"problems"`
	Warnings       []string         `json:"warnings"`
	Workers        int              `json:"workers"`
	StopBudget     float64          `json:"stop_budget_seconds"`
	Cause          string           `json:"stop_budget_cause"`
	CauseCompanion string           `json:"stop_budget_companion"` // "" when no companion causes it
	Companions     []foundCompanion `json:"companions"`
	Platform       *platformSetting `json:"platform,omitempty"`
}

type foundCompanion struct {
	Name        string  `json:"name"`
	Numprocs    int     `json:"numprocs"`
	Hash        string  `json:"hash"`
	StopTimeout float64 `json:"stop_timeout_seconds"`
}

type platformSetting struct {
	Name    string `json:"name"`
	Setting string `json:"setting"` // ready to be copied
}

// platforms are where gofork runs, with how long they let it stop.
var platforms = map[string]func(seconds int) string{
	"docker":     func(s int) string { return fmt.Sprintf("docker run --stop-timeout %d", s) },
	"kubernetes": func(s int) string { return fmt.Sprintf("terminationGracePeriodSeconds: %d", s) },
	"systemd":    func(s int) string { return fmt.Sprintf("TimeoutStopSec=%d", s) },
}

var platformNames = []string{"docker", "kubernetes", "systemd"}

func (r *run) checkCommand() *cobra.Command {
	var asJSON bool
	var platform string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration, start nothing",
		Long: "Check reports every error of a file at once and exits 2 when there is one.\n" +
			"Warnings do not change the exit code: they are about this machine, such as a program\nthat is not there or an address that another program listens on.",
		Example: r.examples(
			"check -c app.toml",
			"check -c app.toml --json | jq .warnings",
			"check -c app.toml --platform kubernetes   # with the grace period to set there",
		),
		Args: func(cmd *cobra.Command, args []string) error {
			if err := noArgs(cmd, args); err != nil {
				return err
			}
			if r.configPath == "" {
				return usagef("check needs a configuration, such as: check -c app.toml")
			}
			if platform != "" && !slices.Contains(platformNames, platform) {
				return usagef("cannot check for platform %q: must be one of %s", platform, strings.Join(platformNames, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := r.check(cmd.Context(), platform)
			if err != nil {
				return err
			}
			if asJSON {
				err = r.printJSON(f)
			} else {
				r.printFinding(f)
			}
			if err == nil && !f.OK {
				return r.quit(ExitUsage)
			}
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVar(&platform, "platform", "", "also say what to set there: kubernetes, docker or systemd")
	_ = cmd.RegisterFlagCompletionFunc("platform", cobra.FixedCompletions(platformNames, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (r *run) check(ctx context.Context, platform string) (*finding, error) {
	f := &finding{Problems: []config.Problem{}, Warnings: []string{}, Companions: []foundCompanion{}}
	c, err := config.Load(config.Source{Path: r.configPath, Environ: r.stdio.Environ}, r.app.known())
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		f.Problems = problems
		return f, nil
	case err != nil:
		return nil, err
	}
	f.OK = true
	f.Warnings = append(f.Warnings, c.Warnings...)
	f.Warnings = append(f.Warnings, r.hostWarnings(ctx, c)...)
	if c.Worker != nil {
		f.Workers = c.Worker.Count
	}
	for _, s := range c.Companions {
		f.Companions = append(f.Companions, foundCompanion{s.Name, s.Numprocs, s.Hash, s.StopTimeout.Seconds()})
	}
	f.StopBudget = c.StopBudget().Seconds()
	f.Cause, f.CauseCompanion = c.StopBudgetCause()
	if setting := platforms[platform]; setting != nil {
		f.Platform = &platformSetting{platform, setting(int(math.Ceil(f.StopBudget)))}
	}
	return f, nil
}

// commandWarnings are about programs that could not be started here and now. They
// are no errors: they may be there when, and where, gofork runs.
func (r *run) commandWarnings(c *config.Config) []string {
	var warnings []string
	look := func(key string, p config.Process) {
		if len(p.Command) == 0 {
			return
		}
		path := p.Env["PATH"]
		if path == "" {
			path = r.getenv("PATH")
		}
		if err := executable(p.Command[0], p.Cwd, path); err != nil {
			warnings = append(warnings, fmt.Sprintf("%s.command: cannot run %q: %v", key, p.Command[0], err))
		}
	}
	if c.Worker != nil {
		look("worker", c.Worker.Process)
	}
	for _, s := range c.Companions {
		look("companion."+s.Name, s.Process)
	}
	return warnings
}

var (
	errNotExecutable = errors.New("it is not executable")
	errNotInPath     = errors.New("it is not in PATH")
)

// executable says why a program could not be run, as execvp(3) would find it.
func executable(name, cwd, path string) error {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(cwd, name)
		}
		return executableFile(name)
	}
	err := errNotInPath
	for _, dir := range filepath.SplitList(path) {
		switch found := executableFile(filepath.Join(dir, name)); {
		case found == nil:
			return nil
		case errors.Is(found, errNotExecutable):
			err = found
		}
	}
	return err
}

func executableFile(path string) error {
	st, err := os.Stat(path)
	var pe *fs.PathError
	switch {
	case errors.As(err, &pe):
		return pe.Err
	case err != nil:
		return err
	case st.IsDir(), st.Mode().Perm()&0o111 == 0:
		return errNotExecutable
	}
	return nil
}

// printProblems lists what is wrong with the file of -c.
func (r *run) printProblems(problems config.Problems) {
	for _, p := range problems {
		_, _ = fmt.Fprintln(r.stdio.Err, p.Error())
	}
	noun := "errors"
	if len(problems) == 1 {
		noun = "error"
	}
	_, _ = fmt.Fprintf(r.stdio.Err, "%s: %d %s\n", r.configPath, len(problems), noun)
}

func (r *run) printFinding(f *finding) {
	if !f.OK {
		r.printProblems(f.Problems)
		return
	}
	for _, w := range f.Warnings {
		_, _ = fmt.Fprintf(r.stdio.Err, "%s: warning: %s\n", r.configPath, w)
	}
	r.printf("%s: ok\n", r.configPath)
	rows := [][]cell{}
	if f.Workers > 0 {
		rows = append(rows, []cell{{text: "workers"}, {text: strconv.Itoa(f.Workers)}})
	}
	rows = append(rows, []cell{{text: "stop budget"}, {text: seconds(f.StopBudget) + " (" + f.Cause + ")"}})
	if f.Platform != nil {
		rows = append(rows, []cell{{text: f.Platform.Name}, {text: f.Platform.Setting}})
	}
	table(r.stdio.Out, r.painter(), rows)
	if len(f.Companions) == 0 {
		return
	}
	rows = [][]cell{{{text: "COMPANION"}, {text: "INSTANCES"}, {text: "STOP TIMEOUT"}, {text: "HASH"}}}
	for _, c := range f.Companions {
		stop := config.FormatDuration(time.Duration(c.StopTimeout * float64(time.Second)))
		rows = append(rows, []cell{{text: c.Name}, {text: strconv.Itoa(c.Numprocs)}, {text: stop}, {text: c.Hash}})
	}
	r.printf("\n")
	table(r.stdio.Out, r.painter(), rows)
}
