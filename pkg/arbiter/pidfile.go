package arbiter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofork/gofork/pkg/proc"
)

// takePidfile writes the pid, atomically, unless the file names a living process
// that is not this one.
func takePidfile(path, suffix string, pid int) error {
	if path == "" {
		return nil
	}
	path += suffix
	other, err := readPidfile(path)
	if err != nil {
		return err
	}
	if other != 0 && other != pid && proc.Alive(other) {
		return fmt.Errorf("cannot write pidfile %s: gofork is already running there (pid %d)", path, other)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("cannot write pidfile %s: %w", path, err)
	}
	defer os.Remove(temporary.Name())
	_, err = fmt.Fprintf(temporary, "%d\n", pid)
	err = errors.Join(err, temporary.Chmod(0o644), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot write pidfile %s: %w", path, err)
	}
	return nil
}

// readPidfile returns the pid in the file, 0 when there is none or it is garbage.
func readPidfile(path string) (int, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read pidfile %s: %w", path, err)
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && pid > 0 {
		return pid, nil
	}
	return 0, nil
}

// dropPidfile removes the file if it is still this process's own, and no younger
// arbiter is about to take the name over.
func (l *loop) dropPidfile() {
	path := l.Config.Server.Pidfile
	if path == "" || l.child != 0 {
		return
	}
	removePidfile(path+l.suffix(), l.PID)
}

// removePidfile removes the file if it names that process.
func removePidfile(path string, pid int) {
	if owner, err := readPidfile(path); err == nil && owner == pid {
		_ = os.Remove(path)
	}
}
