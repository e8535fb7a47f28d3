package arbiter

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/handoff"
	"github.com/gofork/gofork/pkg/launch"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
)

func (l *loop) perform(a action) {
	l.quiet.Did()
	switch a := a.(type) {
	case startWorker:
		l.startWorker(a)
	case signalWorker:
		if pid, ok := l.pids[a.id]; ok {
			// An error means that it has ended: its exit is on the way.
			_ = l.System.Signal(pid, a.signal)
		}
	case signalWorkerGroup:
		if pid, ok := l.pids[a.id]; ok {
			_ = l.System.SignalGroup(pid, a.signal)
		}
	case startManager:
		l.startManager(a)
	case signalManager:
		if a.attempt == l.manager.attempt && l.manager.pid != 0 {
			_ = l.System.Signal(l.manager.pid, a.signal)
		}
	case tellManager:
		if a.attempt == l.manager.attempt && l.manager.conn != nil {
			l.manager.conn.Send(a.message)
		}
	case watchAdopted:
		if l.System.Watch(a.group) {
			l.adopted[a.group] = true
		} else {
			l.step(adoptedGroupEnded(a))
		}
	case signalAdopted:
		if a.whole {
			_ = l.System.SignalGroup(a.group, a.signal)
		} else {
			_ = l.System.Signal(a.group, a.signal)
		}
	case measureWorker:
		if pid, ok := l.pids[a.id]; ok {
			if rss, err := l.System.RSS(pid); err == nil {
				l.step(workerMeasured{a.id, rss})
			}
		}
	case loadConfig:
		l.loadConfig(a)
	case retireListeners:
		l.retireListeners(a.keep)
	case watchSources:
		l.watch(a.patterns)
	case runHook:
		l.queueHook(a.name, a.env, nil)
	case closeListeners: // the stop begins
		if l.Ending != nil {
			l.Ending()
		}
		l.unlink = a.unlink
		l.retireListeners(nil)
	case retireSlot:
		if err := l.sockets.retireSlot(a.slot); err != nil {
			l.Logger.Warn("cannot close a listening socket", "error", err.Error())
		}
	case startUpgrade:
		l.startUpgrade()
	case tellParent:
		l.tellParent()
	case promote:
		l.promote()
	case tellSystemd:
		l.tellSystemd(a.state)
	case record:
		l.log(a)
	case reply:
		l.reply(a.token, a.value)
	case replyFollow:
		l.complete(a.status)
		l.reply(a.token, &followed{a.status, l.events.follow()})
	case finish:
		l.finish(a.code)
	}
}

func (l *loop) startWorker(a startWorker) {
	pid, err := l.spawnWorker(a)
	if err != nil {
		l.settle(a.id, proc.Exit{})
		status := exitStatus{code: launch.FailureCode(err), startError: launch.FailureReason(a.generation.worker().Command, err)}
		l.step(workerExited{id: a.id, status: status})
		return
	}
	l.ids[pid] = a.id
	l.pids[a.id] = pid
	l.step(workerStarted{a.id, pid})
}

func (l *loop) spawnWorker(a startWorker) (pid int, err error) {
	cfg := a.generation.worker()
	told := []string{
		"GOFORK_WORKER_SLOT=" + strconv.Itoa(a.slot),
		"GOFORK_GENERATION=" + strconv.Itoa(a.generation.number),
		"GOFORK_PID=" + strconv.Itoa(l.PID),
	}
	listeners, err := l.sockets.forSlot(a.generation.number, a.slot, listenOptions(a.generation.config))
	if err != nil {
		return 0, err
	}
	names := make([]string, len(listeners))
	for i, s := range listeners {
		names[i] = s.Name()
	}
	told = append(told, handoff.ListenEnv(len(listeners), names)...)
	if l.notify != nil {
		told = append(told, "NOTIFY_SOCKET="+l.notifyAt)
		if cfg.Timeout > 0 {
			told = append(told, "WATCHDOG_USEC="+strconv.FormatInt(cfg.Timeout.Microseconds(), 10))
		}
	}
	var command proc.Command
	counting := -1
	if cfg.Handler != "" {
		var counter []string
		counting, counter = l.openTally(a, handoff.FirstFD+len(listeners))
		defer closeTally(counting)
		told = append(told, counter...)
		text, err := l.HandlerSpec(a.generation.config, a.slot, a.generation.number)
		if err != nil {
			return 0, err
		}
		told = append(told, launch.EnvRole+"="+launch.RoleWorker, launch.EnvSpec+"="+text)
		command = launch.Self(&cfg.Process, l.Self, fmt.Sprintf("gofork: %s worker %d", l.core.config.Name, a.slot), l.env.Of(&cfg.Process, told...))
	} else {
		command, err = launch.Command(&cfg.Process, cfg.Command, l.env.Of(&cfg.Process, told...))
		if err != nil {
			return 0, err
		}
	}
	command.ListenPID = true
	s := l.streams[a.slot]
	if s == nil {
		s = &launch.Streams{}
		l.streams[a.slot] = s
	}
	files, err := l.outputs.Open(s, launch.Wiring{Stdout: cfg.Stdout, Stderr: cfg.Stderr}, fmt.Sprintf("worker %d", a.slot), "slot", a.slot)
	if err != nil {
		return 0, err
	}
	defer files.Close()
	command.Files = []int{proc.DevNull, files.Stdout, files.Stderr}
	for _, s := range listeners {
		command.Files = append(command.Files, s.FD())
	}
	if counting >= 0 {
		command.Files = append(command.Files, counting)
	}
	command.ParentDeathSignal = syscall.SIGKILL
	return l.System.Start(command)
}

// startManager makes the line and the process at its other end.
func (l *loop) startManager(a startManager) {
	l.manager = managerProcess{attempt: a.attempt}
	if by := l.place.predecessor(l.Config.Name, l.PID); by != 0 {
		l.step(managerHeld{a.attempt, by})
		return
	}
	pid, err := l.spawnManager()
	if err != nil {
		l.step(managerExited{attempt: a.attempt, status: exitStatus{code: launch.FailureCode(err), startError: launch.FailureReason([]string{"the manager"}, err)}})
		return
	}
	l.manager.pid = pid
	l.step(managerStarted{a.attempt, pid})
}

// openLine makes the line to a manager: this end of it, and the raw descriptor that
// the manager inherits.
func openLine() (conn *link.Conn, theirs int, err error) {
	ours, theirs, err := link.Pair()
	if err != nil {
		return nil, -1, err
	}
	if conn, err = link.Open(ours); err != nil {
		unix.Close(ours)
		unix.Close(theirs)
		return nil, -1, err
	}
	return conn, theirs, nil
}

func (l *loop) spawnManager() (pid int, err error) {
	conn, theirs, err := l.line()
	if err != nil {
		return 0, err
	}
	defer unix.Close(theirs)
	text, err := l.ManagerSpec(l.core.config, l.managerAt)
	if err != nil {
		conn.Close()
		return 0, err
	}
	// The manager runs as gofork itself does: each companion's user is its own.
	env := append(l.env.Of(&config.Process{}), launch.EnvRole+"="+launch.RoleManager, launch.EnvSpec+"="+text)
	command := launch.Self(&config.Process{Umask: config.Inherit}, l.Self, "gofork: "+l.core.config.Name+" manager", env)
	command.Files = []int{proc.DevNull, unix.Stdout, unix.Stderr, theirs}
	if l.lease.write >= 0 {
		command.Files = append(command.Files, l.lease.write)
	}
	if pid, err = l.System.Start(command); err != nil {
		conn.Close()
		return 0, err
	}
	l.manager.conn, l.manager.received = conn, conn.Received()
	return pid, nil
}

func (l *loop) retireListeners(keep []int) {
	left, err := l.sockets.retire(keep, l.unlink && l.alone())
	if err != nil {
		l.Logger.Warn("cannot close a listening socket", "error", err.Error())
	}
	l.shared = append(l.shared, left...)
}

// reopen opens every log file afresh, here and in whoever writes one.
func (l *loop) reopen() {
	if l.Reopen != nil {
		l.Reopen()
	}
	for slot, s := range l.streams {
		s.Reopen(l.Logger.With("slot", slot))
	}
	l.step(reopenAsked{})
}

// companionHooks are the hooks that are about companions, by their event.
var companionHooks = map[string]string{
	"companion.exited": "companion_exit",
	"companion.fatal":  "companion_fatal",
}

func (l *loop) companionHook(name string, attrs map[string]any) {
	env := []string{fmt.Sprintf("GOFORK_COMPANION=%v", attrs["companion"]), fmt.Sprintf("GOFORK_INSTANCE=%v", attrs["instance"])}
	for attr, variable := range map[string]string{"pid": "GOFORK_COMPANION_PID", "code": "GOFORK_COMPANION_EXIT_CODE", "signal": "GOFORK_COMPANION_EXIT_SIGNAL"} {
		if v, ok := attrs[attr]; ok {
			env = append(env, fmt.Sprintf("%s=%v", variable, v))
		}
	}
	l.queueHook(name, env, nil)
}

// oomRose says whether the kernel has killed a process for its memory since the
// last look, which is asked when one was killed.
func (l *loop) oomRose(s exitStatus) bool {
	if s.signal != syscall.SIGKILL {
		return false
	}
	kills, ok := l.oom.Read()
	rose := ok && kills > l.oomSeen
	l.oomSeen = max(kills, l.oomSeen)
	return rose
}

// monotonic is CLOCK_MONOTONIC, which systemd compares.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// log writes a line of the log and publishes it as an event.
func (l *loop) log(r record) {
	attrs := append([]slog.Attr{slog.String("event", r.event)}, r.attrs...)
	l.Logger.LogAttrs(background, r.level, r.message, attrs...)
	l.events.publish(eventOf(r, time.Now()), nil)
}

func eventOf(r record, now time.Time) control.Event {
	e := control.Event{Time: now, Event: r.event, Role: "arbiter", Level: r.level.String(), Message: r.message, Attrs: make(map[string]any, len(r.attrs))}
	for _, a := range r.attrs {
		if a.Value.Kind() == slog.KindDuration {
			e.Attrs[a.Key] = a.Value.Duration().Seconds()
			continue
		}
		e.Attrs[a.Key] = a.Value.Any()
	}
	return e
}

func (l *loop) reply(token uint64, value any) {
	to := l.waiting[token]
	delete(l.waiting, token)
	if to == nil {
		return
	}
	switch v := value.(type) {
	case *control.Status:
		l.complete(v)
	case *control.Workers:
		l.measure(v)
	}
	to <- value
}

// complete adds to a picture what the core does not know.
func (l *loop) complete(s *control.Status) {
	s.Version, s.PID = l.Version, l.PID
	l.measure(&s.Workers)
}

func (l *loop) measure(all *control.Workers) {
	for i := range all.List {
		if w := &all.List[i]; w.PID != 0 {
			w.RSSBytes, _ = l.System.RSS(w.PID) // gone: 0, and its exit is on the way
		}
	}
}

// finish ends the loop, and before it what children have left outside of their groups.
func (l *loop) finish(code int) {
	l.drainHooks()
	l.endDescendants()
	l.code = code
	l.done = true
}

// endDescendants ends what left the group that it was started in.
func (l *loop) endDescendants() {
	if left := proc.EndDescendants(l.System, quickWindow); len(left) > 0 {
		l.Logger.Error("processes survive SIGKILL", "pids", fmt.Sprint(left))
	}
}

// companionOf reads which instance a process was started as.
func companionOf(env []string) (name string, number int) {
	number = 1
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "GOFORK_COMPANION="); ok {
			name = v
		}
		if v, ok := strings.CutPrefix(kv, "GOFORK_INSTANCE="); ok {
			if n, err := strconv.Atoi(v); err == nil {
				number = n
			}
		}
	}
	return name, number
}
