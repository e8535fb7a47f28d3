package arbiter

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/handoff"
)

// place is where gofork's own sockets live: a directory, or, where nothing can
// be written, the abstract namespace of Linux. Who may talk is decided by the
// credentials of the peer in both.
type place struct {
	dir string // "" = abstract
}

// pathMax is what sun_path holds, less the longest name that is put behind.
const pathMax = 107

// preparePlace makes the runtime directory. Children of another user must reach
// the notify socket in it, so it can be entered then, not listed.
func preparePlace(cfg *config.Config, pid int, log *slog.Logger) place {
	dir := cfg.Server.RuntimeDir
	mode := fs.FileMode(0o700)
	if switchesUser(cfg) {
		mode = 0o711
	}
	err := os.MkdirAll(dir, mode)
	if err == nil && mode == 0o711 {
		err = os.Chmod(dir, mode)
	}
	if err == nil {
		err = writable(dir)
	}
	if longest := filepath.Join(dir, fmt.Sprintf("%s.%d.manager.notify", cfg.Name, pid)); err == nil && len(longest) > pathMax {
		err = fmt.Errorf("cannot use %s: longer than a socket's address", longest)
	}
	if err != nil {
		log.Debug("no runtime directory: its sockets are abstract instead", "runtime_dir", dir, "error", err.Error())
		return place{}
	}
	return place{dir}
}

// admit opens the directory for children of another user that a reload has brought.
func (p place) admit(cfg *config.Config) error {
	if p.dir == "" || !switchesUser(cfg) {
		return nil
	}
	return os.Chmod(p.dir, 0o711)
}

func switchesUser(cfg *config.Config) bool {
	if cfg.Worker != nil && cfg.Worker.Credential != nil {
		return true
	}
	for _, s := range cfg.Companions {
		if s.Credential != nil {
			return true
		}
	}
	return false
}

// writable tells a read-only file system, or a directory of somebody else, before
// the first socket is bound.
func writable(dir string) error {
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	defer os.Remove(probe.Name())
	return probe.Close()
}

// stem is the beginning of the paths of one gofork's notify sockets. Abstract names
// are those of a network namespace, which containers of a pod share, and each of
// them has its process 1: there a pid tells nobody from another.
func (p place) stem(name string) string {
	if p.dir == "" {
		return "@gofork/" + name + "." + rand.Text()[:8] // 40 bits
	}
	return filepath.Join(p.dir, name)
}

// sweep removes the notify sockets of goforks of this name that were killed.
// There is a pid in their names, so no later one would take them over; a socket
// that somebody has open stays.
func (p place) sweep(name string) {
	for _, s := range p.notifySockets(name) {
		s.answers()
	}
}

// notifySocket is the socket of an arbiter, or of its manager, in the place.
type notifySocket struct {
	path    string
	arbiter int // its pid, which is in both names
	manager bool
}

// notifySockets are those that goforks of this name have in the place, or have left there.
func (p place) notifySockets(name string) (found []notifySocket) {
	if p.dir == "" {
		return nil
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil // the directory of somebody else, which cannot be listed
	}
	for _, e := range entries {
		of, is := strings.CutSuffix(e.Name(), ".notify")
		of, manager := strings.CutSuffix(of, ".manager")
		number, ours := strings.CutPrefix(of, name+".")
		if pid, err := strconv.Atoi(number); is && ours && err == nil {
			found = append(found, notifySocket{filepath.Join(p.dir, e.Name()), pid, manager})
		}
	}
	return found
}

// answers says whether somebody has the socket open, and removes it when nobody
// has; who may not remove it may not know.
func (s notifySocket) answers() bool {
	return errors.Is(handoff.RemoveStale(s.path), syscall.EADDRINUSE)
}

// controlSocket opens the socket of the configuration. Where nothing can be
// written it is abstract, under the same name, which clients try as well.
func (p place) controlSocket(cfg *config.Config, suffix string, log *slog.Logger) (*control.Socket, error) {
	options := control.ListenOptions{Mode: cfg.Control.Mode, DirMode: 0o700}
	if switchesUser(cfg) {
		options.DirMode = 0o711
	}
	socket, err := control.Listen(cfg.Control.Socket+suffix, options)
	var inUse *control.InUseError
	if err == nil || errors.As(err, &inUse) {
		return socket, err
	}
	abstract, abstractErr := control.ListenAbstract(cfg.Control.Socket + suffix)
	if abstractErr != nil {
		return nil, abstractErr
	}
	log.Warn("no control socket in the file system: it is abstract instead", "socket", abstract.Path(), "error", err.Error())
	return abstract, nil
}
