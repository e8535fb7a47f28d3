package cli

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"

	"github.com/gofork/gofork/pkg/arbiter"
	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/proc"
)

// Exit codes of serve that are decided before the arbiter runs.
const (
	exitRuntime = 1
	exitConfig  = 2
)

// serve is the arbiter's process, from the reading of the configuration on.
func serve(ctx context.Context, a App, flags serveFlags) int {
	environ := flags.stdio.Environ
	// First of all: a signal that comes while the configuration is read must
	// neither be lost nor kill. And to the last: one that comes while the process
	// ends must not change its exit code.
	signals := make(chan os.Signal, 1024)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGWINCH)
	outliveLogReaders()
	memory := manageMemory(environ)
	keepThreads()

	if dir, err := os.Getwd(); err == nil {
		flags.source.Dir = dir // where a reload has to start from too, after server.chdir
	}
	cfg, err := config.Load(flags.source, a.known())
	if err != nil {
		complain(ctx, err, environ)
		return exitConfig
	}
	if cfg.Server.Chdir != "" {
		if err := os.Chdir(cfg.Server.Chdir); err != nil {
			complain(ctx, err, environ)
			return exitRuntime
		}
	}
	log, err := openJournal(cfg.Log, roleArbiter, os.Stderr, environ)
	if err != nil {
		complain(ctx, err, environ)
		return exitRuntime
	}
	system, err := proc.New()
	if err != nil {
		log.Error(err.Error())
		return exitRuntime
	}
	defer system.Close()
	if err := proc.SetSubreaper(); err != nil {
		log.Warn("companions of a killed manager cannot be watched to their end", "error", err.Error())
	}
	binary, err := os.Executable()
	if err != nil {
		log.Warn("no hot upgrade: the binary cannot be found", "error", err.Error())
	}
	return arbiter.Run(arbiter.Options{
		Config: cfg, Version: a.version(), System: system, Logger: log.Logger, Terminal: log.terminal, Reopen: log.reopen, Tidy: memory.tidy, Ending: memory.ending,
		Environ: environ, Self: proc.Self, PID: os.Getpid(), UID: uint32(os.Geteuid()),
		Signals: signals, Random: rand.Float64, Systemd: os.Getenv("NOTIFY_SOCKET"),
		Binary: binary, Args: os.Args, Dir: flags.source.Dir,
		Lineage: arbiter.LineageOf(environ), Foreground: terminal(os.Stdin),
		Load:        func() (*config.Config, error) { return config.Load(flags.source, a.known()) },
		HandlerSpec: encodeWorker, ManagerSpec: encodeManager,
	})
}

// complain reports what keeps gofork from starting, where its log would go: a
// record for each problem, or on a terminal a line.
func complain(ctx context.Context, err error, environ []string) {
	log, openErr := openJournal(config.Log{Level: "info", Format: "auto"}, roleArbiter, os.Stderr, environ)
	if openErr != nil {
		return // standard error needs no opening
	}
	var problems config.Problems
	if !errors.As(err, &problems) {
		log.LogAttrs(ctx, slog.LevelError, err.Error(), slog.String("event", "config.error"))
		return
	}
	for _, p := range problems {
		log.LogAttrs(ctx, slog.LevelError, p.Error(), problemAttrs(p)...)
	}
}

func problemAttrs(p config.Problem) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("event", "config.error"),
		slog.String("file", p.File), slog.Int("line", p.Line), slog.String("key", p.Key),
	}
	for _, part := range []struct{ name, text string }{{"value", p.Value}, {"rule", p.Rule}, {"nearest", p.Nearest}} {
		if part.text != "" {
			attrs = append(attrs, slog.String(part.name, part.text))
		}
	}
	return attrs
}
