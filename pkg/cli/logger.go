package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lmittmann/tint"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/output"
)

// Roles in the log.
const (
	roleArbiter = "arbiter"
	roleManager = "manager"
	roleWorker  = "worker"
)

// journal is where one process of gofork writes its log.
type journal struct {
	*slog.Logger
	out      *appendFile
	terminal io.Writer // set when people read along: captured output goes there as it is
}

// openJournal makes the log that the configuration asks for. Every process of
// one gofork makes the same, and differs in its role.
func openJournal(c config.Log, role string, stderr *os.File, environ []string) (*journal, error) {
	out := &appendFile{file: stderr, path: c.File}
	if c.File != "" {
		if err := out.open(); err != nil {
			return nil, err
		}
	}
	j := &journal{out: out}
	people := c.File == "" && terminal(stderr)
	level := levelOf(c.Level)
	var h slog.Handler
	if c.Format == "text" || c.Format != "json" && people {
		h = tint.NewTextHandler(out, &tint.Options{Level: level, TimeFormat: "2006-01-02 15:04:05.000", NoColor: !people || lookupEnv(environ, "NO_COLOR") != ""})
		if people {
			j.terminal = stderr
		}
	} else {
		h = slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: durationsInSeconds})
	}
	j.Logger = slog.New(h).With("role", role)
	return j, nil
}

// durationsInSeconds writes a duration as the configuration does, as a number of
// seconds, to the microsecond; slog's own nanoseconds serve nobody who reads or computes.
func durationsInSeconds(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		// One division: Seconds would add whole and fraction to 4.9942720000000005.
		a.Value = slog.Float64Value(float64(a.Value.Duration().Round(time.Microsecond).Microseconds()) / 1e6)
	}
	return a
}

func levelOf(name string) slog.Level {
	switch name {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// reopen opens the log file afresh, after somebody has moved it away. Standard
// error stays as it is: it may be a pipe that cannot be opened again.
func (j *journal) reopen() {
	if j.out.path == "" {
		return
	}
	if err := j.out.open(); err != nil {
		j.Error(err.Error())
	}
}

// appendFile is a file that can be replaced under its writers. Each record is
// one write, so that the processes that share it do not mix their lines.
type appendFile struct {
	path string

	mu   sync.Mutex
	file *os.File
}

func (a *appendFile) open() error {
	fd, err := output.OpenAppend(a.path, 0o644) // waits for nobody
	if err != nil {
		return fmt.Errorf("log.file: %w", err)
	}
	f := os.NewFile(uintptr(fd), a.path)
	a.mu.Lock()
	old := a.file
	a.file = f
	a.mu.Unlock()
	if old != nil && old != os.Stderr {
		return old.Close()
	}
	return nil
}

// Write implements io.Writer.
func (a *appendFile) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Write(p)
}

// lookupEnv reads an environment; of equal names the last counts.
func lookupEnv(environ []string, name string) string {
	for i := len(environ) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(environ[i], name+"="); ok {
			return v
		}
	}
	return ""
}
