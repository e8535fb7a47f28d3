package cli

import (
	"strconv"
	"strings"

	"github.com/gofork/gofork/pkg/config"
	"github.com/spf13/cobra"
)

// serveFlags is what the command line of serve says.
type serveFlags struct {
	source config.Source // to load now, and again at each reload
	stdio  Stdio
}

func (r *run) serveCommand() *cobra.Command {
	var bind, set []string
	var workers, level, format string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run workers and companions in the foreground",
		Long: "Serve runs until it is stopped. Its exit code is 0 after a clean stop, 2 for a\n" +
			"bad configuration, 3 when the workers cannot boot, 4 when the app cannot load,\n" +
			"and that of an essential companion that has ended.",
		Example: r.examples(
			"serve -c app.toml",
			"serve -c app.toml --bind :8000 --bind unix:/run/app.sock --workers 4",
			"serve -c app.toml --set worker.timeout=60s --set companion.rq.numprocs=2",
		),
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.socket != "" {
				return usagef("cannot use --socket to serve: set control.socket, or --set control.socket=PATH")
			}
			settings, err := settingsOf(bind, workers, level, format, set)
			if err != nil {
				return err
			}
			return r.quit(serve(cmd.Context(), r.app, serveFlags{
				source: config.Source{Path: r.configPath, Environ: r.stdio.Environ, Set: settings},
				stdio:  r.stdio,
			}))
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&bind, "bind", nil, "listen at `ADDRESS` (host:port, unix:PATH); may be repeated")
	f.StringVar(&workers, "workers", "", "`NUMBER` of workers, or auto")
	f.StringVar(&level, "log-level", "", "`LEVEL`: debug, info, warn or error")
	f.StringVar(&format, "log-format", "", "`FORMAT`: auto, text or json")
	f.StringArrayVar(&set, "set", nil, "set any configuration `KEY=VALUE`; may be repeated")
	complete := func(flag string, values ...cobra.Completion) {
		// Fails only for a flag that is not there.
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	complete("log-level", "debug", "info", "warn", "error")
	complete("log-format", "auto", "text", "json")
	complete("workers", "auto")
	return cmd
}

// settingsOf turns flags into configuration keys.
func settingsOf(bind []string, workers, level, format string, set []string) ([]config.Setting, error) {
	var settings []config.Setting
	if len(bind) > 0 {
		quoted := make([]string, len(bind))
		for i, b := range bind {
			quoted[i] = strconv.Quote(b)
		}
		settings = append(settings, config.Setting{Key: "server.bind", Value: "[" + strings.Join(quoted, ", ") + "]", Flag: "--bind"})
	}
	for _, s := range []config.Setting{
		{Key: "worker.count", Value: workers, Flag: "--workers"},
		{Key: "log.level", Value: level, Flag: "--log-level"},
		{Key: "log.format", Value: format, Flag: "--log-format"},
	} {
		if s.Value != "" {
			settings = append(settings, s)
		}
	}
	for _, s := range set {
		key, value, ok := strings.Cut(s, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			return nil, usagef("cannot use --set %q: must be key=value, such as worker.count=4", s)
		}
		settings = append(settings, config.Setting{Key: key, Value: value, Flag: "--set"})
	}
	return settings, nil
}
