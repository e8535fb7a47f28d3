package arbiter

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/handoff"
	"github.com/gofork/gofork/pkg/launch"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/metrics"
	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/quiet"
)

// background is for log calls, which take a context that nothing here ends.
var background = context.Background()

// loop owns the core and every descriptor, and is the only one to touch them.
type loop struct {
	Options
	core  *core
	queue []action // ordered and not yet carried out
	timer *time.Timer
	armed time.Time // what the timer is set to; zero = stopped
	quiet *quiet.Watch

	env       launch.Environment
	outputs   launch.Outputs
	streams   map[int]*launch.Streams // by slot
	sockets   sockets
	place     place
	notify    *handoff.Receiver // of workers; nil where the platform has none
	drops     handoff.DropLog   // of notify
	notifyAt  string            // its path
	managerAt string            // the path of the manager's own

	ids  map[int]id // living leaders and leftover groups by pid, which is the pgid
	pids map[id]int

	manager managerProcess
	line    func() (conn *link.Conn, theirs int, err error)
	guards  map[key]guard
	adopted map[int]bool // groups of a dead manager that are watched

	loads   chan loaded // configurations that were read again
	loading sync.WaitGroup

	hooks []*hookRun // the first one runs

	watcher *watcher // of source files, in development; nil = off
	watched []string // what it was made for
	oom     proc.OOMCounter
	oomSeen int64 // its last value

	unlink   bool     // the paths of unix sockets are ours to remove
	shared   []string // paths that were left to a sibling
	child    int      // pid of a younger arbiter; 0 = none
	lease    lease    // this arbiter's own
	control  *control.Socket
	pipes    []*os.File // to and from a sibling
	watching sync.WaitGroup
	facts    chan func()   // what they said, to be carried out on the loop
	ended    chan struct{} // closed when the loop takes no more

	requests <-chan request
	backend  *backend
	waiting  map[uint64]chan<- any // who waits for a reply, by token
	tokens   uint64
	tails    map[uint64]*tail
	events   *hub
	follows  []statusAsked // they wait until nothing is half done

	counters *metrics.Counters // of events
	ledger   ledger
	admin    admin
	above    above

	startedAt time.Time
	early     []os.Signal // came before the loop had begun
	stopped   bool        // a stop signal did

	code int
	done bool
}

// managerProcess is the edge of the manager: its process and its line.
type managerProcess struct {
	attempt  int
	pid      int
	conn     *link.Conn
	received <-chan []link.Message // nil when the line has ended
	within   bool                  // more of one moment is still to come
	exit     *exitStatus           // seen, and held back until the line has ended
}

// request is what somebody asks of the loop; the answer comes on reply, which
// has room for it.
type request struct {
	ask   func(token uint64) event
	reply chan<- any
	run   func(l *loop) // instead of both: what concerns the edge alone
}

// run alternates between orders and facts. After each start the facts that have
// come in are looked at, so that many starts in a row keep nobody waiting.
func (l *loop) run() {
	l.step(began{})
	for _, s := range l.early {
		l.signal(s)
	}
	for !l.done {
		if len(l.queue) == 0 {
			if len(l.follows) > 0 && !l.manager.within {
				l.beginFollows()
				continue
			}
			l.followAdmin()
			l.tellAbove()
			l.arm()
			l.take(true)
			continue
		}
		next := l.queue[0]
		l.queue = l.queue[1:]
		l.perform(next)
		if _, slow := next.(startWorker); slow {
			l.take(false)
		}
	}
}

// take takes one fact in, waiting for it if asked to.
func (l *loop) take(wait bool) {
	var now chan struct{}
	if !wait {
		now = make(chan struct{})
		close(now)
	}
	var notified <-chan struct{}
	if l.notify != nil {
		notified = l.notify.Ready()
	}
	select {
	case <-l.System.Changed():
		l.Logger.LogAttrs(background, slog.LevelDebug, "handling signal", slog.String("event", "server.signal"), slog.String("signal", "SIGCHLD"))
		l.reap()
	case s := <-l.Signals:
		l.signal(s)
	case <-notified:
		l.notifications()
	case messages, ok := <-l.manager.received:
		if !ok {
			l.managerLineEnded()
		}
		for _, m := range messages {
			l.managerMessage(m)
		}
	case r := <-l.requests:
		if r.run != nil {
			r.run(l)
			return
		}
		l.tokens++
		l.waiting[l.tokens] = r.reply
		e := r.ask(l.tokens)
		if q, ok := e.(statusAsked); ok && q.follow {
			l.follows = append(l.follows, q)
			return
		}
		l.step(e)
	case f := <-l.facts:
		f()
	case o := <-l.loads:
		l.loaded(o)
	case <-l.timer.C:
		l.armed = time.Time{}
		l.notifications() // a beat that came in time and waits is no silence
		l.hookDue(time.Now())
		l.aboveDue(time.Now())
		l.quiet.Due(time.Now())
		l.step(timePassed{})
	case <-now:
	}
}

// beginFollows answers who wants the events with a picture to begin with. Every
// event so far is in it and has been published, every later one is neither: no
// order is open, and the manager is between two moments.
func (l *loop) beginFollows() {
	for _, q := range l.follows {
		l.step(q)
	}
	l.follows = nil
}

func (l *loop) step(e event) { l.queue = append(l.queue, l.core.step(time.Now(), e)...) }

// arm sets the one timer to the earliest deadline of all.
func (l *loop) arm() {
	now := time.Now()
	at := sooner(sooner(l.core.earliest(), l.hookDeadline()), sooner(l.aboveDeadline(now), l.quiet.Deadline(now)))
	if at.Equal(l.armed) {
		return
	}
	l.armed = at
	l.timer.Stop()
	if !at.IsZero() {
		l.timer.Reset(time.Until(at))
	}
}

func (l *loop) signal(s os.Signal) {
	sig, _ := s.(syscall.Signal)
	name := proc.SignalName(sig)
	l.log(record{slog.LevelInfo, "server.signal", "handling signal", []slog.Attr{slog.String("signal", name)}})
	switch sig {
	case syscall.SIGTERM:
		l.step(stopAsked{by: name})
	case syscall.SIGINT, syscall.SIGQUIT:
		l.step(stopAsked{by: name, quick: true})
	case syscall.SIGHUP:
		l.step(reloadAsked{by: name})
	case syscall.SIGTTIN:
		l.step(scaleAsked{delta: 1, by: name})
	case syscall.SIGTTOU:
		l.step(scaleAsked{delta: -1, by: name})
	case syscall.SIGUSR1:
		l.reopen()
	case syscall.SIGUSR2:
		l.step(upgradeAsked{by: name})
	case syscall.SIGWINCH:
		if l.Foreground {
			return // the window of a terminal changed its size
		}
		l.step(parkAsked{by: name})
	}
}

// reap takes in what has ended. Messages that the dead had sent come first, so
// that a READY=1 just before an exit still has its owner.
func (l *loop) reap() {
	l.notifications()
	changes := l.System.Sweep()
	for _, x := range changes.Exits {
		status := exitStatus{code: x.Code, signal: x.Signal, core: x.CoreDumped}
		if x.PID == l.manager.pid {
			l.manager.exit = &status
			l.managerEnded()
			continue
		}
		if x.PID == l.child {
			l.child = 0
			l.clearAfterChild(x.PID)
			l.step(upgradeExited{status})
			continue
		}
		a, ok := l.ids[x.PID]
		if !ok {
			l.hookExited(x.PID, status)
			continue
		}
		if !x.GroupAlive {
			delete(l.ids, x.PID)
			delete(l.pids, a)
		}
		status.oom = l.oomRose(status)
		l.settle(a, x)
		l.step(workerExited{a, status, x.GroupAlive})
	}
	var orphans []proc.Exit
	for _, x := range changes.Orphans {
		if l.adopted[x.PID] {
			l.step(adoptedExited{x.PID, exitStatus{code: x.Code, signal: x.Signal, core: x.CoreDumped}})
			continue
		}
		orphans = append(orphans, x)
	}
	l.orphans(orphans)
	for _, group := range changes.Gone {
		if a, ok := l.ids[group]; ok {
			delete(l.ids, group)
			delete(l.pids, a)
			l.step(workerGroupEnded{a})
		}
		if l.adopted[group] {
			delete(l.adopted, group)
			l.step(adoptedGroupEnded{group})
		}
	}
}

func (l *loop) notifications() {
	if l.notify == nil {
		return
	}
	for _, m := range l.notify.Take() {
		a, ok := l.ids[m.PGID]
		if !ok {
			if a, ok = l.ids[m.PID]; !ok {
				continue
			}
		}
		l.step(workerSaid{id: a, ready: m.Ready, beat: m.Watchdog, stopping: m.Stopping, status: m.Status, recycle: m.Recycle})
	}
	l.drops.Tell(l.notify, time.Now(), l.Logger)
}

// managerMessage takes one message of the manager in.
func (l *loop) managerMessage(m link.Message) {
	l.quiet.Did()
	if e := m.Event; e != nil {
		l.managerEvent(e)
	}
	if m.Lines != nil {
		l.lines(m.Lines)
		return
	}
	l.manager.within = m.More
	if m.Instance != nil {
		l.guardPipes(m.Instance)
	}
	if m.Removed != nil {
		l.unguard(key{m.Removed.Name, m.Removed.Instance})
	}
	l.step(managerSaid{l.manager.attempt, m})
}

// managerEvent passes an event of the manager on. Its attributes are read only
// when somebody looks at them.
func (l *loop) managerEvent(e *link.Event) {
	if e.Lost > 0 {
		l.Logger.LogAttrs(background, slog.LevelWarn, "events of companions were lost while this process stood still", slog.Int("count", e.Lost))
	}
	event := control.Event{Time: e.Time, Event: e.Event, Role: "manager", Level: e.Level, Message: e.Message}
	hook := companionHooks[e.Event]
	hooked := hook != "" && len(l.config().Hooks.Commands[hook]) > 0
	if hooked || metrics.Counted(e.Event) {
		event.Attrs = e.Attrs.Map()
	}
	l.events.publish(event, e.Attrs.Map)
	if hooked {
		l.companionHook(hook, event.Attrs)
	}
}

func (l *loop) managerLineEnded() {
	l.manager.received, l.manager.within = nil, false
	l.managerEnded()
}

// managerEnded passes the manager's exit on once both its process and its line
// have ended: what it had reported before it died counts.
func (l *loop) managerEnded() {
	m := &l.manager
	if m.exit == nil || m.received != nil {
		return
	}
	status := *m.exit
	m.conn.Close()
	l.endTails()
	*m = managerProcess{attempt: m.attempt}
	l.step(managerExited{l.manager.attempt, status, l.strays()})
}

// strays are adopted companions by their environment.
func (l *loop) strays() []stray {
	var found []stray
	for _, s := range l.System.Strays() {
		name, number := companionOf(s.Env)
		if name != "" && s.Group == s.PID {
			found = append(found, stray{key{name, number}, s.Group})
		}
	}
	return found
}
