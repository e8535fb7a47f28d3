package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gofork/gofork/pkg/importer"
	"github.com/spf13/cobra"
)

func (r *run) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Turn the file of another process manager into a configuration",
		Long: "Import writes TOML to standard output. What has no counterpart becomes a comment\n" +
			"that begins with \"not mapped\"; how many there are is said on standard error.",
		Example: r.examples("import supervisord /etc/supervisor/supervisord.conf > app.toml", "import procfile Procfile > app.toml"),
		Args:    noSuchCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		r.importFormat("supervisord", "Import a supervisord.conf, with the files that it includes",
			"import supervisord /etc/supervisor/supervisord.conf > app.toml", importSupervisord),
		r.importFormat("procfile", "Import a Procfile", "import procfile Procfile > app.toml", importProcfile),
	)
	return cmd
}

func (r *run) importFormat(name, short, example string, read func(path string, in io.Reader) (importer.Result, error)) *cobra.Command {
	return &cobra.Command{
		Use:     name + " FILE",
		Short:   short,
		Example: r.examples(example, "import "+name+" - < FILE      # from standard input"),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("import %s needs one file, such as: %s", name, example)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			result, err := read(args[0], r.stdio.In)
			if err != nil {
				return fmt.Errorf("cannot import %s: %w", args[0], err)
			}
			r.printf("%s", result.TOML)
			switch result.Unmapped {
			case 0:
			case 1:
				r.complain(errors.New("1 thing is not mapped: see the comment in the output"))
			default:
				r.complain(fmt.Errorf("%d things are not mapped: see the comments in the output", result.Unmapped))
			}
			return nil
		},
	}
}

// maxImport bounds what is imported, which is held in memory.
const maxImport = 4 << 20

// readInput reads a file, or standard input for "-".
func readInput(path string, in io.Reader) (string, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", pathless(err)
		}
		defer func() { _ = f.Close() }() // read-only: nothing is lost
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxImport+1))
	if err != nil {
		return "", pathless(err)
	}
	if len(text) > maxImport {
		return "", fmt.Errorf("it is larger than %d MiB", maxImport>>20)
	}
	return string(text), nil
}

// pathless strips the path from an error that is shown beside it.
func pathless(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func importProcfile(path string, in io.Reader) (importer.Result, error) {
	text, err := readInput(path, in)
	if err != nil {
		return importer.Result{}, err
	}
	return importer.Procfile(filepath.Base(path), text)
}

func importSupervisord(path string, in io.Reader) (importer.Result, error) {
	text, err := readInput(path, in)
	if err != nil {
		return importer.Result{}, err
	}
	here, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return importer.Result{}, fmt.Errorf("cannot find its folder: %w", err)
	}
	return importer.Supervisord{
		Name: filepath.Base(path), Here: here, Text: text,
		Include: func(pattern string) ([]importer.Supervisord, error) { return included(here, pattern, in) },
	}.Import()
}

// included reads the files of an [include]; relative patterns start at the file.
func included(here, pattern string, in io.Reader) ([]importer.Supervisord, error) {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(here, pattern)
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fmt.Errorf("cannot use %q: %w", pattern, err)
	}
	var files []importer.Supervisord
	for _, p := range paths {
		text, err := readInput(p, in)
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", p, err)
		}
		files = append(files, importer.Supervisord{Name: p, Text: text})
	}
	return files, nil
}
