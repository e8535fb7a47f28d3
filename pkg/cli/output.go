package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// jsonFlag adds --json.
func jsonFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "json", false, "answer in JSON")
}

// printf writes to standard output. A reader that went away is no failure of the
// command, which has done its work.
func (r *run) printf(format string, args ...any) { _, _ = fmt.Fprintf(r.stdio.Out, format, args...) }

func (r *run) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the answer as JSON: %w", err)
	}
	r.printf("%s\n", b)
	return nil
}

// terminal says whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	// A character device is not enough: /dev/null is one, and the standard input
	// of every service.
	is := false
	err = conn.Control(func(fd uintptr) {
		_, termErr := unix.IoctlGetTermios(int(fd), getTermios)
		is = termErr == nil
	})
	return err == nil && is
}

// paint is how a piece of text is coloured; plain text stays as it is.
type paint func(color, text string) string

// The colours are the terminal's own, so that they fit its background (ECMA-48, SGR).
const (
	green  = "32"
	yellow = "33"
	red    = "31"
	bold   = "1"
)

// painter colours on a terminal whose user has not said no (no-color.org).
func (r *run) painter() paint {
	if !terminal(r.stdio.Out) || r.getenv("NO_COLOR") != "" || r.getenv("TERM") == "dumb" {
		return func(_, text string) string { return text }
	}
	return func(color, text string) string {
		if color == "" {
			return text
		}
		return "\x1b[" + color + "m" + text + "\x1b[0m"
	}
}

// cell is one field of a table; its colour takes no room.
type cell struct{ text, color string }

// table writes rows in columns that are as wide as their longest cell, two spaces
// apart. Nothing is padded at the end of a line.
func table(w io.Writer, p paint, rows [][]cell) {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		last := len(row) - 1
		for last >= 0 && row[last].text == "" {
			last--
		}
		var line strings.Builder
		for i, c := range row[:last+1] {
			line.WriteString(p(c.color, c.text))
			if i < last {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		_, _ = fmt.Fprintln(w, line.String())
	}
}
