package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/pelletier/go-toml/v2"
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

// socketPath finds the control socket: -s, GOFORK_SOCKET, the file of -c, else the
// only socket in the default runtime directory.
func (r *run) socketPath() (string, error) {
	if r.socket != "" {
		return r.socket, nil
	}
	if path := r.getenv("GOFORK_SOCKET"); path != "" {
		return path, nil
	}
	if r.configPath != "" {
		return r.configuredSocket()
	}
	return onlySocket(r.runtimeDir())
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

// runtimeDir is the default of server.runtime_dir.
func (r *run) runtimeDir() string {
	if os.Geteuid() == 0 {
		return "/run/gofork"
	}
	if dir := r.getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "gofork")
	}
	tmp := r.getenv("TMPDIR")
	if !filepath.IsAbs(tmp) {
		tmp = "/tmp"
	}
	return filepath.Join(tmp, "gofork-"+strconv.Itoa(os.Geteuid()))
}

// configuredSocket is the socket that the file of -c leads to. A file that would
// not pass "check" is good enough as long as it tells: the gofork that should be
// asked may be running with the version before.
func (r *run) configuredSocket() (string, error) {
	c, err := config.Load(config.Source{Path: r.configPath, Environ: r.stdio.Environ}, r.app.known())
	if err == nil {
		return c.Control.Socket, nil
	}
	text, readErr := readConfig(r.configPath)
	if readErr != nil {
		return "", fmt.Errorf("%w: %w", control.ErrUnreachable, readErr)
	}
	var file struct {
		Name   string `toml:"name"`
		Server struct {
			Chdir      string `toml:"chdir"`
			RuntimeDir string `toml:"runtime_dir"`
		} `toml:"server"`
		Control struct {
			Socket string `toml:"socket"`
		} `toml:"control"`
	}
	if toml.Unmarshal(text, &file) != nil {
		file.Name, file.Server.Chdir, file.Server.RuntimeDir, file.Control.Socket = "", "", "", ""
	}
	override := func(v *string, name string) {
		if s := r.getenv(name); s != "" {
			*v = s
		}
	}
	override(&file.Name, "GOFORK_NAME")
	override(&file.Server.RuntimeDir, "GOFORK_SERVER__RUNTIME_DIR")
	override(&file.Control.Socket, "GOFORK_CONTROL__SOCKET")
	base, err := filepath.Abs(os.Expand(file.Server.Chdir, r.getenv))
	if err != nil {
		return "", fmt.Errorf("%w: %w", control.ErrUnreachable, err)
	}
	absolute := func(path string) string {
		path = os.Expand(path, r.getenv)
		if filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(base, path)
	}
	if file.Control.Socket != "" {
		return absolute(file.Control.Socket), nil
	}
	if file.Name == "" {
		file.Name = strings.TrimSuffix(filepath.Base(r.configPath), filepath.Ext(r.configPath))
	}
	dir := r.runtimeDir()
	if file.Server.RuntimeDir != "" {
		dir = absolute(file.Server.RuntimeDir)
	}
	return filepath.Join(dir, file.Name+".sock"), nil
}

// readConfig reads at most what a configuration may hold.
func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	defer func() { _ = f.Close() }() // read-only: nothing is lost
	b, err := io.ReadAll(io.LimitReader(f, 8<<20))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return b, nil
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
