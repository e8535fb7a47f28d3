package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// versionLine is for people and bug reports.
func (r *run) versionLine() string {
	return fmt.Sprintf("%s %s (%s, %s/%s)\n", r.name, r.app.version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (r *run) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Show the version",
		Example: r.examples("version --json"),
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Name     string `json:"name"`
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{r.name, r.app.version(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if asJSON {
				return r.printJSON(v)
			}
			r.printf("%s", r.versionLine())
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
