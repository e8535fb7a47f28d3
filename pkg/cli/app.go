package cli

import (
	"context"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/gofork/gofork/pkg/companion"
	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/launch"
	"github.com/gofork/gofork/pkg/worker"
	"github.com/spf13/cobra"
)

// App is a gofork binary: the command line, with what is compiled in.
//
//	func main() {
//		cli.App{
//			Name:     "shop",
//			Handlers: map[string]worker.Factory{"shop": newShop},
//		}.Main()
//	}
type App struct {
	Name       string // of the program, in help and messages; default: gofork
	Version    string // default: the main module's, as the Go toolchain recorded it
	Handlers   map[string]worker.Factory
	Companions map[string]companion.Func

	// HandlerOptions says what is wrong with worker.options for a handler, so that
	// "check" finds it and no worker is started with them. For the stock handlers
	// it is worker.ValidateOptions; nil accepts everything.
	HandlerOptions func(handler string, options map[string]any) error
}

// Stdio is what a command reads and writes. Colours are used when Out is a terminal.
type Stdio struct {
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	Environ []string // as os.Environ gives it
}

// Main is a main function: it never returns. The binary is its own child: when
// gofork started it for another role than the command line, Main plays that role.
func (a App) Main() {
	if role := os.Getenv(launch.EnvRole); role != "" {
		os.Exit(runRole(context.Background(), a, role)) //nolint:forbidigo // this is a main function
	}
	stdio := Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}
	os.Exit(a.Run(context.Background(), os.Args[1:], stdio)) //nolint:forbidigo // this is a main function
}

// Run carries out one command line and returns its exit code.
func (a App) Run(ctx context.Context, args []string, stdio Stdio) int {
	r := &run{app: a, stdio: stdio, name: a.name()}
	root := r.root() //nolint:contextcheck // cobra hands ctx to the command
	root.SetArgs(numbersLast(args))
	root.SetIn(stdio.In)
	root.SetOut(stdio.Out)
	root.SetErr(stdio.Err)
	return r.report(root.ExecuteContextC(ctx))
}

func (a App) name() string {
	if a.Name == "" {
		return "gofork"
	}
	return a.Name
}

// version is what "version" shows and the arbiter reports.
func (a App) version() string {
	if a.Version != "" {
		return a.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// known are the names that a configuration may use with this binary.
func (a App) known() config.Known {
	k := config.Known{HandlerOptions: a.HandlerOptions}
	for name := range a.Handlers {
		k.Handlers = append(k.Handlers, name)
	}
	for name := range a.Companions {
		k.Targets = append(k.Targets, name)
	}
	return k
}

// run is one command line on its way.
type run struct {
	app     App
	stdio   Stdio
	name    string
	started bool // the command line was understood, the command itself has begun

	configPath string // -c
	socket     string // -s
	code       int    // of a command that has already said why it failed, as serve
}

// getenv reads the environment of the command line.
func (r *run) getenv(name string) string { return lookupEnv(r.stdio.Environ, name) }

const (
	groupServe   = "serve"
	groupObserve = "observe"
	groupAct     = "act"
)

// root is the command tree.
func (r *run) root() *cobra.Command {
	root := &cobra.Command{
		Use:   r.name,
		Short: "Serve an application and keep its companions running",
		Long: r.name + " serves a web application with several worker processes and keeps the\n" +
			"processes beside it (queues, schedulers, daemons) running.",
		Example: r.examples(
			"serve -c app.toml       # in the foreground, as a container or unit wants it",
			"status                  # what is running",
			"companion restart rq    # and wait until it is up again",
			"reload                  # read app.toml again, lose no request",
		),
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              noSuchCommand,
		PersistentPreRun:  func(*cobra.Command, []string) { r.started = true },
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		DisableAutoGenTag: true,
		Version:           r.app.version(), // --version
	}
	root.SetVersionTemplate(r.versionLine())
	root.PersistentFlags().StringVarP(&r.configPath, "config", "c", "", "configuration `FILE`")
	root.PersistentFlags().StringVarP(&r.socket, "socket", "s", "", "control `SOCKET` of the running gofork")
	_ = root.MarkPersistentFlagFilename("config", "toml") // fails only for a flag that is not there
	root.AddGroup(
		&cobra.Group{ID: groupServe, Title: "Run:"},
		&cobra.Group{ID: groupObserve, Title: "Look:"},
		&cobra.Group{ID: groupAct, Title: "Act:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupServe, r.serveCommand(), r.checkCommand(), r.initCommand(), r.configCommand(), r.importCommand(), r.versionCommand())
	add(groupObserve, r.statusCommand(), r.eventsCommand(), r.logsCommand())
	add(groupAct, r.companionCommand(), r.reloadCommand(), r.scaleCommand(), r.reopenCommand(),
		r.stopCommand(), r.upgradeCommand(), r.notifyCommand())
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" { // cobra's shows its help, and no error, for an unknown shell
			c.Args = noSuchCommand
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	return root
}

// examples writes command lines as help shows them.
func (r *run) examples(lines ...string) string {
	return "  " + r.name + " " + strings.Join(lines, "\n  "+r.name+" ")
}

// noSuchCommand is the Args of a command that is only a place for others.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2 // cobra's own default, which it sets elsewhere only
	}
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = " (did you mean " + strings.Join(near, " or ") + "?)"
	}
	return usagef("unknown command %q%s", args[0], hint)
}

// numbersLast moves a negative number, as in "scale -1", behind the flags, where
// it is not taken for one.
func numbersLast(args []string) []string {
	var rest, numbers []string
	scale := false
	for i, arg := range args {
		switch {
		case arg == "--":
			return append(append(rest, args[i:]...), numbers...)
		case scale && isNegative(arg):
			numbers = append(numbers, arg)
			continue
		case arg == "scale":
			scale = true
		}
		rest = append(rest, arg)
	}
	if numbers == nil {
		return args
	}
	return append(append(rest, "--"), numbers...)
}

func isNegative(arg string) bool {
	return len(arg) > 1 && arg[0] == '-' && strings.Trim(arg[1:], "0123456789") == ""
}
