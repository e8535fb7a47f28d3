package cli

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

//go:embed starter.toml
var starter string

// starterFile is where init writes when it is not told.
const starterFile = "app.toml"

func (r *run) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a commented configuration to start from",
		Long: "Init writes a configuration that serves as it is, with comments, to FILE or to\n" +
			starterFile + ", or to standard output for \"-\". A file that is there is not touched.",
		Example: r.examples("init", "init deploy/app.toml", "init - | less"),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("init takes one file, not %d", len(args))
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []cobra.Completion{"toml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(_ *cobra.Command, args []string) error {
			path := starterFile
			if len(args) > 0 {
				path = args[0]
			}
			if path == "-" {
				r.printf("%s", r.starter(starterFile))
				return nil
			}
			if err := writeNew(path, r.starter(path)); err != nil {
				return err
			}
			r.printf("wrote %[2]s; next:\n\n  %[1]s check -c %[2]s\n  %[1]s serve -c %[2]s\n  %[1]s status -c %[2]s\n", r.name, path)
			return nil
		},
	}
}

// starter is the configuration that init writes: with a handler that is compiled
// in, when there is one.
func (r *run) starter(path string) string {
	worker := `command = ["./server"]         # your program`
	if len(r.app.Handlers) > 0 {
		handler := slices.Min(slices.Collect(maps.Keys(r.app.Handlers)))
		if _, ok := r.app.Handlers["hello"]; ok {
			handler = "hello" // the one that needs no options
		}
		worker = fmt.Sprintf("%-30s # or: command = [\"node\", \"server.js\"]", fmt.Sprintf("handler = %q", handler))
	}
	return strings.NewReplacer("PROGRAM", r.name, "FILE", path, "WORKER", worker).Replace(starter)
}

// writeNew writes a file that must not be there.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("cannot write %s: it is there already, and init overwrites nothing", path)
	case err != nil:
		return fmt.Errorf("cannot write a configuration: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write a configuration: %w", err)
	}
	return nil
}
