package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/spf13/cobra"
)

// client is a client for the gofork that the command line means. The caller closes it.
func (r *run) client() (*control.Client, error) {
	path, err := r.socketPath()
	if err != nil {
		return nil, err
	}
	return control.Dial(path), nil
}

// asking is the RunE of a command that asks the running gofork for something.
func (r *run) asking(ask func(ctx context.Context, c *control.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := r.client()
		if err != nil {
			return err
		}
		defer c.Close()
		return ask(cmd.Context(), c, args)
	}
}

// socketPath finds the control socket: -s, GOFORK_SOCKET, the file of -c, else the
// variables that gofork itself would go by, else the only socket in the runtime
// directory.
func (r *run) socketPath() (string, error) {
	if r.socket != "" {
		return r.socket, nil
	}
	if path := r.getenv("GOFORK_SOCKET"); path != "" {
		return path, nil
	}
	path, err := config.SocketOf(config.Source{Path: r.configPath, Environ: r.stdio.Environ})
	if err != nil {
		return "", fmt.Errorf("%w: %w", control.ErrUnreachable, err)
	}
	if r.configPath != "" || r.getenv("GOFORK_CONTROL__SOCKET") != "" || r.getenv("GOFORK_NAME") != "" {
		return path, nil
	}
	return onlySocket(filepath.Dir(path)) // of whatever name
}

// onlySocket is the one in a directory. (A new arbiter's SOCKET.2, there during an
// upgrade, does not count.)
func onlySocket(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.sock"))
	if err != nil {
		return "", fmt.Errorf("cannot look for sockets in %s: %w", dir, err)
	}
	if len(found) > 1 {
		// A gofork that was killed leaves its socket behind: nobody answers there.
		found = slices.DeleteFunc(found, func(path string) bool { return !control.Answers(path) })
	}
	if len(found) == 0 {
		found = control.AbstractSockets(dir)
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%w: no socket in %s; name it with -s SOCKET, GOFORK_SOCKET or -c FILE", control.ErrUnreachable, dir)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%w: more than one socket (%s); choose with -s SOCKET, GOFORK_SOCKET or -c FILE",
		control.ErrUnreachable, strings.Join(found, ", "))
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// completionTimeout keeps the shell responsive when gofork is not.
const completionTimeout = time.Second

// completeNames offers the names of the running gofork's companions, and of the
// instances of those that have several.
func (r *run) completeNames(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	c, err := r.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	all, err := c.Companions(ctx, "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	given := map[string]bool{}
	for _, a := range args {
		given[a] = true
	}
	var names []cobra.Completion
	for _, companion := range all {
		if id := companion.ID(); !given[id] {
			names = append(names, cobra.CompletionWithDesc(id, companion.State))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
