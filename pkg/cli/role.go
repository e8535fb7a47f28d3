package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"

	"github.com/gofork/gofork/pkg/companion"
	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/handoff"
	"github.com/gofork/gofork/pkg/launch"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/worker"
)

// linkFD is the descriptor on which the manager finds its line to the arbiter.
const linkFD = 3

// exitUsage is the exit code of a role that was called with nonsense: by hand.
const exitUsage = 2

// workerSpec is what a handler worker is told.
type workerSpec struct {
	Worker worker.Spec
	Log    config.Log
	Output launch.Wiring
}

// managerSpec is what the manager is told.
type managerSpec struct {
	Name       string
	ArbiterPID int
	NotifyPath string
	Log        config.Log
}

// targetSpec is what a companion that is a Go function is told.
type targetSpec struct {
	companion.TargetSpec
	Log config.Log
}

// runRole is the main function of a process that gofork started from its own
// binary. What it was told is taken out of the environment, so that nothing
// which the process starts mistakes it for its own.
func runRole(ctx context.Context, a App, role string) int {
	text := os.Getenv(launch.EnvSpec)
	_ = os.Unsetenv(launch.EnvRole) // fails only for a malformed name
	_ = os.Unsetenv(launch.EnvSpec)
	nameThread(a.name())
	outliveLogReaders()
	var err error
	code := exitUsage
	switch role {
	case launch.RoleWorker:
		code, err = runWorker(ctx, a, text)
	case launch.RoleManager:
		code, err = runManager(text)
	case launch.RoleTarget:
		code, err = runTarget(a, text)
	default:
		err = fmt.Errorf("cannot play the role %q: there is no such role", role)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", a.name(), err)
	}
	return code
}

func decodeSpec(text string, spec any) error {
	if err := json.Unmarshal([]byte(text), spec); err != nil {
		return fmt.Errorf("cannot read %s, which gofork sets for its own processes: %w", launch.EnvSpec, err)
	}
	return nil
}

func encodeSpec(spec any) (string, error) {
	b, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("cannot pass the configuration on: %w", err)
	}
	return string(b), nil
}

func runWorker(ctx context.Context, a App, text string) (int, error) {
	var spec workerSpec
	if err := decodeSpec(text, &spec); err != nil {
		return exitUsage, err
	}
	log, err := openJournal(spec.Log, roleWorker, os.Stderr, os.Environ())
	if err != nil {
		return exitUsage, err
	}
	factory, ok := a.Handlers[spec.Worker.Handler]
	if !ok {
		return exitUsage, fmt.Errorf("cannot serve with handler %q: it is not compiled in", spec.Worker.Handler)
	}
	logger := log.With("slot", spec.Worker.Slot, "pid", os.Getpid())
	reopen := func() {
		log.reopen()
		if err := spec.Output.Reopen(); err != nil {
			logger.Error(err.Error())
		}
	}
	defer releaseProgramAfterStart()()
	return worker.Run(ctx, spec.Worker, factory, worker.Options{Logger: logger, Reopen: reopen}), nil
}

// encodeWorker is arbiter.Options.HandlerSpec.
func encodeWorker(c *config.Config, slot, generation int) (string, error) {
	w := c.Worker
	return encodeSpec(workerSpec{
		Worker: worker.Spec{
			Name: c.Name, Handler: w.Handler, Options: w.Options, Slot: slot, Generation: generation,
			DrainDelay: w.DrainDelay, GracefulTimeout: c.Server.GracefulTimeout, RequestTimeout: w.RequestTimeout,
			HeartbeatInterval: w.Timeout / 3, MaxRequests: jittered(w.MaxRequests, w.MaxRequestsJitter),
			HTTP: w.HTTP, StopSignal: w.StopSignal, Access: c.Log.Access, ArbiterPID: os.Getpid(),
		},
		Log:    c.Log,
		Output: launch.Wiring{Stdout: w.Stdout, Stderr: w.Stderr},
	})
}

// jittered spreads what would otherwise happen to all workers at the same time.
func jittered(n, jitter int) int {
	if n == 0 || jitter == 0 {
		return n
	}
	return n + rand.IntN(jitter+1)
}

func runManager(text string) (int, error) {
	memory := manageMemory(os.Environ())
	keepThreads()
	var spec managerSpec
	if err := decodeSpec(text, &spec); err != nil {
		return exitUsage, err
	}
	log, err := openJournal(spec.Log, roleManager, os.Stderr, os.Environ())
	if err != nil {
		return exitUsage, err
	}
	conn, err := link.Open(linkFD)
	if err != nil {
		return exitUsage, err
	}
	defer conn.Close()
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1)
	system, err := proc.New()
	if err != nil {
		return exitUsage, err
	}
	defer system.Close()
	if err := proc.SetSubreaper(); err != nil {
		log.Warn("daemons of companions are adopted by the arbiter", "error", err.Error())
	}
	o := companion.Options{
		Link: conn, System: system, Logger: log.Logger, Environ: os.Environ(), Self: proc.Self,
		ArbiterPID: spec.ArbiterPID, Signals: signals, Random: rand.Float64, Reopen: log.reopen, Tidy: memory.tidy, Ending: memory.ending, Terminal: log.terminal,
		TargetSpec: func(t companion.TargetSpec) (string, error) { return encodeSpec(targetSpec{t, spec.Log}) },
	}
	if notify, err := handoff.ListenNotify(spec.NotifyPath); err != nil {
		log.Warn("companions cannot report readiness", "error", err.Error())
	} else {
		defer notify.Close()
		o.Notify, o.NotifyPath = notify, spec.NotifyPath
	}
	return companion.Run(o), nil
}

// encodeManager is arbiter.Options.ManagerSpec.
func encodeManager(c *config.Config, notifyPath string) (string, error) {
	return encodeSpec(managerSpec{Name: c.Name, ArbiterPID: os.Getpid(), NotifyPath: notifyPath, Log: c.Log})
}

func runTarget(a App, text string) (int, error) {
	var spec targetSpec
	if err := decodeSpec(text, &spec); err != nil {
		return exitUsage, err
	}
	// Not into log.file: what a companion prints goes where its stdout and stderr
	// say.
	spec.Log.File = ""
	log, err := openJournal(spec.Log, "companion", os.Stderr, os.Environ())
	if err != nil {
		return exitUsage, err
	}
	run, ok := a.Companions[spec.Target]
	if !ok {
		return exitUsage, fmt.Errorf("cannot run target %q: it is not compiled in", spec.Target)
	}
	logger := log.With("companion", spec.Name, "instance", spec.Instance)
	defer releaseProgramAfterStart()()
	return companion.RunTarget(spec.TargetSpec, run, logger), nil
}
