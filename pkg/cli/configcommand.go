package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/spf13/cobra"
)

func (r *run) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Show the configuration in effect, or which keys there are",
		Example: r.examples("config show", "config schema > gofork.schema.json"),
		Args:    noSuchCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(r.configShowCommand(), r.configSchemaCommand())
	return cmd
}

func (r *run) configShowCommand() *cobra.Command {
	var asJSON, offline bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show what the running gofork works with",
		Long: "Show writes the effective configuration of the running gofork as TOML that can be\n" +
			"loaded again: defaults applied, variables expanded, env files read. Values of\n" +
			"variables and secrets among options are masked.\n\n" +
			"When nobody answers and there is a file (-c), it is what the file would give.",
		Example: r.examples(
			"config show",
			"config show --json | jq .worker",
			"config show -c app.toml --offline   # what the file would give, whatever runs",
		),
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if offline && r.configPath == "" {
				return usagef("config show --offline needs a configuration, such as: config show -c app.toml --offline")
			}
			tree, err := r.effective(cmd.Context(), offline)
			if err != nil {
				return err
			}
			if asJSON {
				return r.printJSON(tree)
			}
			r.printf("%s", config.FormatTOML(tree))
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&offline, "offline", false, "ask nobody: show what the file of -c would give")
	return cmd
}

// effective asks the running gofork, or reads the file when that is meant or all
// there is.
func (r *run) effective(ctx context.Context, offline bool) (map[string]any, error) {
	if offline {
		return r.effectiveFile()
	}
	tree, err := r.effectiveRunning(ctx)
	if r.configPath == "" || r.socket != "" || !errors.Is(err, control.ErrUnreachable) {
		return tree, err
	}
	tree, fileErr := r.effectiveFile()
	if fileErr == nil {
		r.complain(fmt.Errorf("no gofork answers: this is what %s would give", r.configPath))
	}
	return tree, fileErr
}

func (r *run) effectiveRunning(ctx context.Context) (map[string]any, error) {
	c, err := r.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	answer, err := c.Config(ctx)
	if err != nil {
		return nil, err
	}
	tree, ok := answer.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w at %s: the answer is no configuration", control.ErrUnreachable, c.Socket())
	}
	return tree, nil
}

func (r *run) effectiveFile() (map[string]any, error) {
	c, err := config.Load(config.Source{Path: r.configPath, Environ: r.stdio.Environ}, r.app.known())
	var problems config.Problems
	if errors.As(err, &problems) {
		r.printProblems(problems)
		return nil, r.quit(ExitUsage)
	}
	if err != nil {
		return nil, err
	}
	return c.Effective(), nil
}

func (r *run) configSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Write the JSON Schema of configuration files, for editors",
		Long: "Schema writes the JSON Schema (draft 2020-12) of configuration files: every key\n" +
			"with its meaning, default and form. An editor with a TOML language server (taplo,\n" +
			"Even Better TOML) completes keys in a file whose first line names it:\n\n" +
			"  #:schema ./gofork.schema.json",
		Example: r.examples("config schema > gofork.schema.json"),
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			r.printf("%s", config.JSONSchema())
			return nil
		},
	}
}
