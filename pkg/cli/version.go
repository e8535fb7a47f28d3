package cli

import (
	"errors"
	"runtime"

	"github.com/spf13/cobra"
)

var errNobodyToNotify = errors.New("cannot notify: NOTIFY_SOCKET is not set, this is no child of a supervisor")

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
			r.printf("%s %s (%s, %s)\n", v.Name, v.Version, v.Go, v.Platform)
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
