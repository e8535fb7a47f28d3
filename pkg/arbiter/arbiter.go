package arbiter

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/handoff"
	"github.com/gofork/gofork/pkg/launch"
	"github.com/gofork/gofork/pkg/metrics"
	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/quiet"
)

// Options is what an arbiter is given by its process.
type Options struct {
	Config  *config.Config
	Version string
	System  proc.System
	Logger  *slog.Logger
	// Terminal is where captured lines go behind a prefix when people read along;
	// nil: they become records.
	Terminal io.Writer
	Reopen   func()   // reopens the log file
	Tidy     func()   // gives memory back when there was much to do and is nothing; nil: not at all
	Ending   func()   // is called when the stop begins; may be nil
	Environ  []string // gofork's own
	Self     string   // path of this binary, for handler workers and the manager
	PID      int
	UID      uint32
	Signals  <-chan os.Signal
	Random   func() float64 // 0 … 1
	Systemd  string         // NOTIFY_SOCKET of the supervisor above; "" = none

	// Of a hot upgrade: what to start beside this process, and where this one
	// comes from.
	Binary     string   // the file that was started, which may have been replaced
	Args       []string // argv
	Dir        string   // where gofork was started
	Lineage    Lineage
	Foreground bool // on a terminal, whose size may change (WINCH)

	// Load reads the configuration again, from where Config came.
	Load func() (*config.Config, error)

	// HandlerSpec and ManagerSpec encode what a handler worker and the manager
	// read from their environment; who runs in them knows the form.
	HandlerSpec func(c *config.Config, slot, generation int) (string, error)
	ManagerSpec func(c *config.Config, notifyPath string) (string, error)
}

// Bind attempts, as gunicorn makes them: a predecessor may need a moment to go.
const (
	bindTries = 5
	bindDelay = time.Second
)

// Run serves until it was told to stop, and returns the exit code of gofork
// serve. It must be called on the goroutine that is locked to the main thread
// (see package proc). When it returns, nothing that it started is alive.
func Run(o Options) (code int) {
	l := newLoop(o)
	defer func() {
		if p := recover(); p != nil {
			l.Logger.Error("arbiter panicked: stopping everything", "panic", p, "stack", string(debug.Stack()))
			proc.EndDescendants(l.System, quickWindow)
			code = codeRuntimeFailure
		}
	}()
	code = l.serve()
	l.endDescendants() // what hooks that ran before the loop, or after it, left behind
	return code
}

func newLoop(o Options) *loop {
	l := &loop{
		Options: o, env: launch.NewEnvironment(o.Environ), outputs: launch.Outputs{Logger: o.Logger, Terminal: o.Terminal},
		streams: map[int]*launch.Streams{}, ids: map[int]id{}, pids: map[id]int{},
		line: openLine, adopted: map[int]bool{}, guards: map[key]guard{}, waiting: map[uint64]chan<- any{}, tails: map[uint64]*tail{},
		sockets: sockets{of: map[int][]*socket{}}, unlink: true, lease: lease{-1, -1},
		facts: make(chan func()), ended: make(chan struct{}), loads: make(chan loaded),
		events: newHub(), counters: metrics.NewCounters(), ledger: newLedger(), timer: time.NewTimer(time.Hour),
		quiet: quiet.Over(o.Tidy),
	}
	l.events.tap = l.counters.Observe
	l.timer.Stop()
	return l
}

// serve is the order of things from the first record to the last.
func (l *loop) serve() int {
	cfg := l.Config
	l.startedAt = time.Now()
	l.log(record{slog.LevelInfo, "server.starting", "starting gofork", []slog.Attr{
		slog.String("name", cfg.Name), slog.String("version", l.Version), slog.Int("pid", l.PID),
		slog.Duration("stop_budget", cfg.StopBudget()), slog.String("config", cfg.Path),
	}})
	for _, w := range cfg.Warnings {
		l.Logger.Warn(w)
	}
	if err := takePidfile(cfg.Server.Pidfile, l.suffix(), l.PID); err != nil {
		l.Logger.Error(err.Error())
		return codeRuntimeFailure
	}
	dropPidfile := sync.OnceFunc(l.dropPidfile)
	defer dropPidfile()
	if s, err := newLease(); err != nil {
		l.Logger.Warn("no hot upgrade", "error", err.Error())
	} else {
		l.lease = s
		defer s.close()
	}
	l.place = preparePlace(cfg, l.PID, l.Logger)
	socket, code := l.openControl(l.place)
	if code != 0 {
		return code
	}
	l.control = socket
	closeControl := sync.OnceFunc(func() { l.closeControl(socket) })
	defer closeControl()
	requests := make(chan request)
	l.requests = requests
	l.backend = &backend{first: l.firstPicture(), running: make(chan struct{}), requests: requests, ended: l.ended, events: l.events}
	stopControl := sync.OnceFunc(l.serveControl(socket, l.backend))
	endRequests := sync.OnceFunc(func() { close(l.ended) })
	defer func() { endRequests(); stopControl() }()
	err := l.runHook("on_starting")
	switch {
	case l.stopped:
		return l.stopAtStart()
	case err != nil:
		l.Logger.Error(err.Error())
		return codeRuntimeFailure
	}
	if code, ok := l.bind(); !ok {
		if l.stopped {
			return l.stopAtStart()
		}
		return code
	}
	retireListeners := sync.OnceFunc(func() { l.retireListeners(nil) })
	defer retireListeners()

	l.openNotify(l.place)
	closeNotify := sync.OnceFunc(l.closeNotify)
	defer closeNotify()

	if code, ok := l.openAdmin(l.backend); !ok {
		return code
	}

	l.core = newCore(cfg, addresses(l.sockets.of[1]), l.startedAt, l.Random)
	l.oom = proc.NewOOMCounter()
	l.oomSeen, _ = l.oom.Read()
	l.core.pid, l.core.upgrade.parent = l.PID, l.Lineage.Parent
	if cfg.Worker != nil && l.Lineage.Count > 0 && l.Lineage.Of == cfg.Worker.Count {
		l.core.count = l.Lineage.Count
	}
	l.watchParent()
	l.beginAbove()
	close(l.backend.running)
	l.run()
	endRequests()
	l.closePipes()
	l.watch(nil)
	l.events.publish(eventOf(l.stoppedRecord(), time.Now()), nil) // while there is somebody to hear it
	l.endTails()                                                  // before the servers end, which give them time to be read to the end
	l.endAdmin()                                                  // beside the control server: a reader that is stuck holds up each for a second
	stopControl()
	l.closeAdmin()
	l.unguardAll()
	l.endLoads()
	l.outlive()
	if l.alone() { // else these names are a sibling's, too, which may end while the hook runs
		closeNotify()
		retireListeners()
		closeControl()
		dropPidfile()
	}
	_ = l.runHook("on_exit", "GOFORK_EXIT_CODE="+strconv.Itoa(l.code)) // its failure is logged
	for _, s := range l.streams {
		s.Close(l.Logger)
	}
	l.outlive()
	l.log(l.stoppedRecord())
	return l.code
}

func (l *loop) stoppedRecord() record {
	return record{slog.LevelInfo, "server.stopped", "stopped", []slog.Attr{
		slog.Int("code", l.code), slog.Duration("uptime", time.Since(l.startedAt)),
	}}
}

// bind opens the listening sockets: taken over from systemd when there are any,
// else those of the configuration. A taken address is tried again for a while; a
// stop signal ends that.
func (l *loop) bind() (code int, ok bool) {
	cfg := l.Config
	if cfg.Worker == nil {
		return 0, true
	}
	inherited, err := handoff.FromSystemd(l.Environ)
	if err != nil {
		l.Logger.Error(err.Error())
		return codeRuntimeFailure, false
	}
	handed, err := handoff.FromGofork(l.Environ)
	if err != nil {
		l.Logger.Error(err.Error())
		return codeRuntimeFailure, false
	}
	l.sockets.inherited = len(inherited) > 0
	if l.sockets.of[1] = grouped(inherited, cfg.Server.ReusePort); len(inherited) == 0 {
		if code, ok := l.bindAll(grouped(handed, cfg.Server.ReusePort)); !ok {
			l.retireListeners(nil)
			return code, false
		}
	}
	for _, k := range l.sockets.of[1] {
		l.listening(k)
	}
	return 0, true
}

func (l *loop) listening(k *socket) {
	l.log(record{slog.LevelInfo, "server.listening", "listening at", []slog.Attr{slog.String("address", k.first().Addr())}})
}

// bindAll opens what bind names and was not handed over by an older arbiter.
func (l *loop) bindAll(handed []*socket) (code int, ok bool) {
	defer func() {
		for _, k := range handed {
			if !slices.Contains(l.sockets.of[1], k) {
				_ = k.close(false) // not in this configuration: the older one's alone
				if path := k.path(); path != "" {
					l.shared = append(l.shared, path)
				}
			}
		}
	}()
	for _, address := range l.Config.Server.Bind {
		if at := slices.IndexFunc(handed, func(k *socket) bool { return k.name == address }); at >= 0 {
			l.sockets.of[1] = append(l.sockets.of[1], handed[at])
			continue
		}
		for try := 1; ; try++ {
			k, err := openSocket(address, l.Config)
			if err == nil {
				l.sockets.of[1] = append(l.sockets.of[1], k)
				break
			}
			if !bindsLater(err) || try == bindTries {
				l.Logger.Error(err.Error())
				return codeRuntimeFailure, false
			}
			l.Logger.Warn(err.Error(), "retry_in", bindDelay)
			if l.stopWithin(bindDelay) {
				return 0, false
			}
		}
	}
	return 0, true
}

// openControl opens the control socket: before anything else that is shared, for
// another gofork that has it is the best of reasons not to start.
func (l *loop) openControl(p place) (socket *control.Socket, code int) {
	socket, err := p.controlSocket(l.Config, l.suffix(), l.Logger)
	var inUse *control.InUseError
	if errors.As(err, &inUse) {
		l.Logger.Error(err.Error())
		return nil, codeRuntimeFailure
	}
	if err != nil {
		l.Logger.Warn("no control socket: only signals will reach this gofork", "error", err.Error())
	}
	return socket, 0
}

// serveControl answers on the control socket until the returned function is
// called. Without a socket gofork runs on: it can still be told by signals.
func (l *loop) serveControl(socket *control.Socket, b *backend) (stop func()) {
	if socket == nil {
		return func() {}
	}
	ln, err := socket.Listener()
	if err != nil {
		l.Logger.Error("cannot serve the control socket", "error", err.Error())
		return func() {}
	}
	ctx, cancel := context.WithCancel(background)
	var serving sync.WaitGroup
	serving.Go(func() {
		err := control.Serve(ctx, ln, b, control.Options{SelfUID: l.UID, AllowUIDs: l.Config.Control.AllowUIDs, Logger: l.Logger, Metrics: l.metricsHandler(b)})
		if err != nil {
			l.Logger.Error("control socket failed", "error", err.Error())
		}
	})
	return func() {
		cancel()
		serving.Wait()
	}
}

func (l *loop) closeControl(socket *control.Socket) {
	if socket == nil {
		return
	}
	var err error
	if l.child == 0 {
		err = socket.Unlink() // else the younger one takes the path over
	}
	if err = errors.Join(err, socket.Close()); err != nil {
		l.Logger.Warn("cannot remove the control socket", "error", err.Error())
	}
}

// openNotify opens the socket on which workers report, and chooses the manager's.
func (l *loop) openNotify(p place) {
	stem := p.stem(l.Config.Name + "." + strconv.Itoa(l.PID))
	l.notifyAt, l.managerAt = stem+".notify", stem+".manager.notify"
	p.sweep(l.Config.Name)
	r, err := handoff.ListenNotify(l.notifyAt)
	if err != nil {
		l.Logger.Warn("workers cannot report readiness and heartbeats", "error", err.Error())
		return
	}
	l.notify = r
}

func (l *loop) closeNotify() {
	if l.notify != nil {
		if err := l.notify.Close(); err != nil {
			l.Logger.Warn("cannot close the notify socket", "error", err.Error())
		}
	}
	// A manager that was killed left its own behind.
	_ = handoff.RemoveStale(l.managerAt)
}
