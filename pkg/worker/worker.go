package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/tally"
)

// Exit codes of a handler worker. The supervisor tells a worker that cannot
// serve from an application that cannot load.
const (
	exitOK       = 0
	exitFailed   = 1 // stopped serving for a reason of its own
	exitBoot     = 3 // sockets, certificate or limits could not be set up
	exitAppLoad  = 4 // the factory failed
	exitOrphaned = 1 // the arbiter was gone before the worker ran
)

// Factory makes the handler of a worker. An error means that the application
// cannot load; the worker logs it and exits with code 4. It may block: the
// supervisor's boot timeout is the only clock over it.
type Factory func(Context) (http.Handler, error)

// Context is what a [Factory] knows of the worker it makes a handler for.
type Context struct {
	Options    map[string]any // worker.options, as written in the file
	Logger     *slog.Logger
	Slot       int    // from 1; kept by the replacement of a worker
	Generation int    // of the configuration, from 1
	Name       string // of the whole application
}

// Spec is what the arbiter tells a handler worker. It is plain data and survives
// encoding as JSON (where integers in Options become float64).
type Spec struct {
	Name       string
	Handler    string
	Options    map[string]any
	Slot       int
	Generation int

	DrainDelay        time.Duration
	GracefulTimeout   time.Duration // from the stop signal to the end of every request; 0 = no limit
	RequestTimeout    time.Duration // 0 = off
	HeartbeatInterval time.Duration // a third of worker.timeout; 0 = off
	MaxRequests       int           // jitter included; 0 = off

	HTTP       config.HTTP
	StopSignal syscall.Signal // 0 = SIGTERM
	Access     string         // "off", "record", "combined"; "" = "off"
	ArbiterPID int            // 0 = unknown
}

// Options are the parts of the process that a worker uses. The zero value is
// the real process; each field replaces one part of it.
type Options struct {
	Logger    *slog.Logger               // nil: slog.Default()
	Stdout    io.Writer                  // combined access lines; nil: os.Stdout
	Reopen    func()                     // called on SIGUSR1, on the goroutine of Run
	Listeners []net.Listener             // nil: the inherited sockets, LISTEN_FDS from descriptor 3 on
	Notify    func(message string) error // sd_notify(3); nil: to NOTIFY_SOCKET, nothing when it is unset
	Signals   <-chan os.Signal           // nil: the process's own
	Tally     *tally.Page                // where requests are counted; nil: the inherited page, if there is one
}

// Run serves until a stop signal, or ctx is done, and the drain that follows;
// it returns the exit code of the process. The listeners are closed then.
func Run(ctx context.Context, spec Spec, factory Factory, opts Options) int {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	log := opts.Logger
	if orphaned(spec.ArbiterPID, os.Getppid()) {
		log.Error("arbiter is gone", "arbiter_pid", spec.ArbiterPID)
		return exitOrphaned
	}
	signals := opts.Signals
	if signals == nil {
		ch := make(chan os.Signal, 8)
		// To the end of the process: a signal that comes late must not change how it ends.
		signal.Notify(ch, stopSignal(spec), syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1)
		defer dieOnAbort()()
		signals = ch
	}
	if opts.Stdout == nil {
		opts.Stdout = os.Stdout
	}
	if opts.Notify == nil {
		opts.Notify = notifier(os.Getenv("NOTIFY_SOCKET"))
	}

	if opts.Tally == nil {
		opts.Tally = inheritedTally(log)
	}

	var err error
	listeners := opts.Listeners
	if listeners == nil {
		if listeners, err = inheritedListeners(); err != nil {
			log.Error("worker failed to boot", "error", err)
			return exitBoot
		}
	}
	p := &process{spec: spec, opts: opts, log: log, signals: signals}
	p.server, err = newServer(spec, opts, listeners)
	if err != nil {
		closeAll(listeners)
		log.Error("worker failed to boot", "error", err)
		return exitBoot
	}
	defer p.server.close()

	h, how, err := p.load(ctx, factory)
	switch {
	case err != nil:
		log.Error("app failed to load", "handler", spec.Handler, "error", err)
		return exitAppLoad
	case how != goOn:
		return exitOK
	}
	return p.run(ctx, h)
}

// process is one worker while it runs. Everything in it belongs to the goroutine
// of Run.
type process struct {
	spec    Spec
	opts    Options
	log     *slog.Logger
	signals <-chan os.Signal
	server  *server
}

// order is what a signal asks of the worker.
type order int

const (
	goOn order = iota
	drain
	quit
)

// load runs the factory beside the signals, so that a worker whose application
// hangs while it loads can still be stopped.
func (p *process) load(ctx context.Context, factory Factory) (http.Handler, order, error) {
	type result struct {
		handler http.Handler
		err     error
	}
	// Buffered: a factory that returns after a stop is waited for by nobody, the
	// process ends.
	loaded := make(chan result, 1)
	go func() {
		h, err := callFactory(factory, Context{
			Options:    p.spec.Options,
			Logger:     p.log,
			Slot:       p.spec.Slot,
			Generation: p.spec.Generation,
			Name:       p.spec.Name,
		})
		loaded <- result{h, err}
	}()
	for {
		select {
		case r := <-loaded:
			return r.handler, goOn, r.err
		case s := <-p.signals:
			if o := p.order(s); o != goOn {
				return nil, o, nil
			}
		case <-ctx.Done():
			return nil, drain, nil
		}
	}
}

func callFactory(factory Factory, c Context) (h http.Handler, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	if h, err = factory(c); err == nil && h == nil {
		err = errors.New("the factory returned no handler")
	}
	return h, err
}

func (p *process) run(ctx context.Context, h http.Handler) int {
	p.server.start(h)
	select {
	case <-p.server.accepting:
	case err := <-p.server.failed:
		p.log.Error("worker failed to boot", "error", err)
		return exitBoot
	}
	// The first beat goes before READY=1: who is seen to be ready is watched.
	stopBeating := p.beat()
	defer stopBeating()
	p.notify("READY=1")

	for {
		select {
		case s := <-p.signals:
			switch p.order(s) {
			case drain:
				return p.drain()
			case quit:
				p.notify("STOPPING=1")
				return exitOK
			}
		case <-ctx.Done():
			return p.drain()
		case <-p.server.recycle:
			// Once: the channel is sent to once. The supervisor starts the
			// replacement first and then sends the stop signal.
			p.notify("X_GOFORK_RECYCLE=max_requests\n")
		case err := <-p.server.failed:
			p.log.Error("worker stopped serving", "error", err)
			return exitFailed
		}
	}
}

// order says what a signal means. The configured stop signal comes first: it may
// be one that otherwise means something else.
func (p *process) order(s os.Signal) order {
	switch s {
	case stopSignal(p.spec), syscall.SIGTERM:
		return drain
	case syscall.SIGINT, syscall.SIGQUIT:
		return quit
	case syscall.SIGUSR1:
		if p.opts.Reopen != nil {
			p.opts.Reopen()
		}
	}
	return goOn
}

func stopSignal(spec Spec) syscall.Signal {
	if spec.StopSignal == 0 {
		return syscall.SIGTERM
	}
	return spec.StopSignal
}

// orphaned reports whether the arbiter died before the worker asked to die with
// it. A parent in another pid namespace is shown as 0, and an arbiter that is
// the init of this namespace is 1 like any foster parent: both tell nothing.
func orphaned(arbiter, parent int) bool {
	return arbiter > 0 && parent > 0 && parent != arbiter
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}
