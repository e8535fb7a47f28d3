package cli

import (
	"bytes"
	"fmt"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
)

func (r *run) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Show the configuration in effect",
		Example: r.examples("config show"),
		Args:    noSuchCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(r.configShowCommand())
	return cmd
}

func (r *run) configShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show what the running gofork works with",
		Long: "Show writes the effective configuration of the running gofork as TOML: defaults\n" +
			"applied, variables expanded, environment values masked.",
		Example: r.examples("config show", "config show --json | jq .worker"),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			defer c.Close()
			tree, err := c.Config(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return r.printJSON(tree)
			}
			var b bytes.Buffer
			enc := toml.NewEncoder(&b)
			enc.SetIndentTables(false)
			if err := enc.Encode(tree); err != nil {
				return fmt.Errorf("cannot write the configuration as TOML: %w", err)
			}
			r.printf("%s", b.String())
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
