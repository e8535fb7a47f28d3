package companion

import (
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/handoff"
	"github.com/gofork/gofork/pkg/launch"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/quiet"
)

// Options is what a manager is given by its process.
type Options struct {
	Link       *link.Conn        // to the arbiter; its end is the arbiter's end
	Notify     *handoff.Receiver // readiness messages of companions; nil = none
	NotifyPath string            // what companions find in NOTIFY_SOCKET
	System     proc.System
	Logger     *slog.Logger
	Environ    []string // gofork's own
	Self       string   // path of this binary, for compiled-in targets
	ArbiterPID int
	Signals    <-chan os.Signal
	Random     func() float64 // 0 … 1
	// TargetSpec encodes what the process of a Go function reads from its environment.
	TargetSpec func(TargetSpec) (string, error)
	Reopen     func()    // reopens the manager's own log file
	Tidy       func()    // gives memory back when there was much to do and is nothing; nil: not at all
	Ending     func()    // is called when the stop begins; may be nil
	Terminal   io.Writer // where captured lines go behind a prefix when people read along; nil: they become records
}

// Run is the manager: it returns when the arbiter asked it to end or is gone,
// and nothing that it started lives any more. It must be called on the
// goroutine that is locked to the main thread (see package proc).
func Run(o Options) int {
	l := newLoop(o)
	defer l.close()
	l.run()
	return 0
}

// loop owns the core and is the only one to touch it.
type loop struct {
	Options
	core   *core
	env    launch.Environment
	queue  []action       // ordered and not yet carried out
	starts []startProcess // the same; they are slow and wait until all else is done
	timer  *time.Timer
	armed  time.Time // what the timer is set to; zero = stopped
	quiet  *quiet.Watch

	outputs   launch.Outputs
	followers map[uint64]*follower
	settling  chan struct{}  // closed when the last settle has ended; nil: there was none yet
	helpers   sync.WaitGroup // goroutines that follow and settle output

	members map[int][]int   // by group, of one moment; nil = not looked at
	drops   handoff.DropLog // of Notify

	ids     map[int]id // living leaders and leftover groups by pid, which is the pgid
	pids    map[id]int
	streams map[key]*launch.Streams

	received <-chan []link.Message // nil once the arbiter is gone
	outbox   []link.Message        // for the arbiter, not sent yet
	told     time.Time             // when it was last emptied
	done     bool
}

func newLoop(o Options) *loop {
	l := &loop{
		Options: o, core: newCore(o.Random), env: launch.NewEnvironment(o.Environ),
		ids: map[int]id{}, pids: map[id]int{}, streams: map[key]*launch.Streams{},
		received:  o.Link.Received(),
		followers: map[uint64]*follower{},
		outputs:   launch.Outputs{Logger: o.Logger, Terminal: o.Terminal},
		timer:     time.NewTimer(time.Hour),
		quiet:     quiet.Over(o.Tidy),
	}
	l.timer.Stop()
	return l
}

// run alternates between orders and facts. Starts may be many and take a
// millisecond each: between two of them one fact that has come in is taken, and
// what it orders goes first. So neither a stop nor a crash waits for the rest of
// a thousand starts, and those that the stop made void are left out.
func (l *loop) run() {
	for !l.done {
		switch {
		case len(l.queue) > 0:
			next := l.queue[0]
			l.queue = l.queue[1:]
			l.perform(next)
		case len(l.starts) > 0:
			next := l.starts[0]
			l.starts = l.starts[1:]
			if l.core.due(next.id) {
				l.start(next)
				l.arm()
				l.poll()
			}
			if time.Since(l.told) > tellWithin {
				l.tell()
			}
		default:
			l.members = nil // the moment is over
			l.tell()
			l.arm()
			l.wait()
		}
	}
	l.tell()
}

// tellWithin is how old news for the arbiter may become while there is more to do.
// Each sending wakes two threads, here and there, which the processes being
// started have better use for.
const tellWithin = 5 * time.Millisecond

// tellAt is how many messages are news enough.
const tellAt = 256

// say puts a message into the outbox.
func (l *loop) say(m link.Message) {
	if l.outbox = append(l.outbox, m); len(l.outbox) >= tellAt {
		l.tell()
	}
}

// tell sends what is in the outbox.
func (l *loop) tell() {
	l.told = time.Now()
	if len(l.outbox) == 0 {
		return
	}
	l.Link.Send(l.outbox...)
	clear(l.outbox)
	l.outbox = l.outbox[:0]
}

// wait takes one fact in.
func (l *loop) wait() {
	select {
	case messages, ok := <-l.received:
		l.hear(messages, ok)
	case <-l.System.Changed():
		l.reap()
	case <-l.notified():
		l.notifications()
	case s := <-l.Signals:
		l.signal(s)
	case <-l.timer.C:
		l.ring()
	}
}

// poll takes one fact in if there is one.
func (l *loop) poll() {
	select {
	case messages, ok := <-l.received:
		l.hear(messages, ok)
	case <-l.System.Changed():
		l.reap()
	case <-l.notified():
		l.notifications()
	case s := <-l.Signals:
		l.signal(s)
	case <-l.timer.C:
		l.ring()
	default:
	}
}

// step puts what the core orders into the queues. Signals go first: those who are
// asked to end do so while the rest is written down. SIGKILL keeps its place
// behind the record that names who is still there to be killed.
func (l *loop) step(e event) {
	actions := l.core.step(time.Now(), e)
	together(actions)
	for _, a := range actions {
		if asks(a) {
			l.queue = append(l.queue, a)
		}
	}
	for _, a := range actions {
		if s, ok := a.(startProcess); ok {
			l.starts = append(l.starts, s)
		} else if !asks(a) {
			l.queue = append(l.queue, a)
		}
	}
}

func asks(a action) bool {
	switch a := a.(type) {
	case signalProcess:
		return a.signal != syscall.SIGKILL
	case signalGroup:
		return a.signal != syscall.SIGKILL
	}
	return false
}

// together marks the messages of one step as of one moment.
func together(actions []action) {
	more := false
	for n, a := range slices.Backward(actions) {
		switch a := a.(type) {
		case record:
			a.more = more
			actions[n], more = a, true
		case send:
			a.message.More = more
			actions[n], more = a, true
		}
	}
}

func (l *loop) ring() {
	l.armed = time.Time{}
	l.quiet.Due(time.Now())
	l.step(timePassed{})
}

// arm sets the one timer to the earliest deadline of all.
func (l *loop) arm() {
	at := sooner(l.core.earliest(), l.quiet.Deadline(time.Now()))
	if at.Equal(l.armed) {
		return
	}
	l.armed = at
	l.timer.Stop()
	if !at.IsZero() {
		l.timer.Reset(time.Until(at))
	}
}

// hear takes in what the arbiter says, or that it is gone.
func (l *loop) hear(messages []link.Message, ok bool) {
	if !ok {
		l.received = nil
		l.shutdown(shutdownAsked{cause: causeArbiter})
	}
	for _, m := range messages {
		switch {
		case m.Apply != nil:
			l.step(applyAsked{*m.Apply})
		case m.Act != nil:
			l.step(actAsked{*m.Act})
		case m.Stop != nil:
			l.shutdown(shutdownAsked{quick: m.Stop.Quick, cause: causeShutdown})
		case m.Reopen != nil:
			l.reopen()
		case m.Logs != nil:
			l.logs(*m.Logs)
		}
	}
}

func (l *loop) shutdown(e shutdownAsked) {
	if l.Ending != nil {
		l.Ending()
	}
	l.step(e)
}

// signal handles what somebody sent to the manager itself; the arbiter speaks
// over the link.
func (l *loop) signal(s os.Signal) {
	switch s {
	case syscall.SIGTERM:
		l.shutdown(shutdownAsked{cause: causeShutdown})
	case syscall.SIGINT, syscall.SIGQUIT:
		l.shutdown(shutdownAsked{quick: true, cause: causeShutdown})
	case syscall.SIGUSR1:
		l.reopen()
	}
}

// reap takes in what has ended. Messages that the dead had sent come first, so
// that a READY=1 just before an exit still has its owner.
func (l *loop) reap() {
	l.notifications()
	changes := l.System.Sweep()
	for _, x := range changes.Exits {
		a, ok := l.ids[x.PID]
		if !ok {
			continue
		}
		l.settle(a.key)
		delete(l.pids, a)
		if x.GroupAlive {
			l.pids[a] = x.PID // the group keeps the number
		} else {
			delete(l.ids, x.PID)
		}
		l.step(processExited{a, exitStatus{code: x.Code, signal: x.Signal, core: x.CoreDumped}, x.GroupAlive})
	}
	for _, group := range changes.Gone {
		if a, ok := l.ids[group]; ok {
			delete(l.ids, group)
			delete(l.pids, a)
			l.step(groupEnded{a})
		}
	}
	l.orphans(changes.Orphans)
}

// notified is never ready when there is no notify socket.
func (l *loop) notified() <-chan struct{} {
	if l.Notify == nil {
		return nil
	}
	return l.Notify.Ready()
}

func (l *loop) notifications() {
	if l.Notify == nil {
		return
	}
	for _, m := range l.Notify.Take() {
		if !m.Ready {
			continue
		}
		if a, ok := l.ids[m.PGID]; ok {
			l.step(readyReceived{a})
		} else if a, ok := l.ids[m.PID]; ok {
			l.step(readyReceived{a})
		}
	}
	l.drops.Tell(l.Notify, time.Now(), l.Logger)
}
