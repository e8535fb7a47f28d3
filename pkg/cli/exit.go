package cli

import (
	"errors"
	"fmt"

	"github.com/gofork/gofork/pkg/control"
	"github.com/spf13/cobra"
)

// The exit codes of every command but serve.
const (
	ExitOK          = 0 // done
	ExitFailed      = 1 // the action failed
	ExitUsage       = 2 // bad command line, or "check" found errors
	ExitNotRunning  = 3 // "status --check", "companion status": not all as they should be
	ExitUnknown     = 4 // no such companion
	ExitUnreachable = 5 // no gofork answers
)

// errSilent ends a command that has said everything already; run.code has its code.
var errSilent = errors.New("already reported")

// quit ends a command with this code and no further word.
func (r *run) quit(code int) error {
	if code == ExitOK {
		return nil
	}
	r.code = code
	return errSilent
}

// usageError is a command line that cannot be carried out.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// report writes what went wrong, once, and returns the exit code.
func (r *run) report(cmd *cobra.Command, err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, errSilent):
		return r.code
	case errors.As(err, &usage), !r.started: // cobra's own complaints come before the start
		r.complain(err)
		_, _ = fmt.Fprintf(r.stdio.Err, "Run '%s --help' for usage and examples.\n", cmd.CommandPath())
		return ExitUsage
	}
	r.complain(err)
	return codeOf(err)
}

func (r *run) complain(err error) { _, _ = fmt.Fprintf(r.stdio.Err, "%s: %v\n", r.name, err) }

// codeOf is the exit code for the error of a client.
func codeOf(err error) int {
	var e *control.Error
	switch {
	case errors.Is(err, control.ErrUnreachable):
		return ExitUnreachable
	case !errors.As(err, &e):
		return ExitFailed
	case e.Code == control.CodeUnknownCompanion:
		return ExitUnknown
	case e.Code == control.CodeBadRequest:
		return ExitUsage
	}
	return ExitFailed
}
