package companion

import (
	"fmt"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/historytest"
	"github.com/gofork/gofork/pkg/link"
)

type deed = historytest.Deed[*world]

// deeds are what can happen. The first ones, and the last, are drawn more often.
func deeds() []deed {
	return []deed{
		{Weight: 2, Name: "what is under way goes on", Do: (*world).goOn},
		{Weight: 2, Name: "time passes", Do: (*world).pass},
		{Weight: 2, Name: "a process exits", Do: (*world).exitByItself},
		{Weight: 2, Name: "a process is ready", Do: (*world).ready},
		{Weight: 4, Name: "a start is carried out", Do: (*world).begin},
		{Weight: 4, Name: "an end is seen", Do: (*world).tell},
		{Weight: 3, Name: "time passes again", Do: (*world).pass},
		{Weight: 2, Name: "another process exits", Do: (*world).exitByItself},
		{Weight: 4, Name: "a request", Do: (*world).actOn},
		{Weight: 1, Name: "the timer is late", Do: (*world).timerLate},
		{Weight: 1, Name: "the clock jumps", Do: (*world).clockJumps},
		{Weight: 1, Name: "the clock goes back", Do: (*world).clockGoesBack},
		{Weight: 2, Name: "an apply", Do: (*world).applySome},
		{Weight: 1, Name: "a fact is told again", Do: (*world).repeat},
		{Weight: 1, Name: "a shutdown is asked for", Do: func(w *world) {
			if w.script.OneIn("really", 8) {
				w.step(shutdownAsked{quick: w.script.OneIn("quick", 2), cause: historytest.Pick(w.script, "cause", causeShutdown, causeArbiter)})
			}
		}},
		{Weight: 1, Name: "members of a group end", Do: (*world).membersEnd},
	}
}

// next lets one thing happen.
func (w *world) next() {
	if w.judge.finished {
		return
	}
	w.deck.Happen(w, w.script, w.census)
}

// pick chooses one of the processes that fit, or nil.
func (w *world) pick(fits func(*process) bool) *process {
	var found []*process
	for _, p := range w.procs {
		if fits(p) {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return historytest.Pick(w.script, "process", found...)
}

// goOn lets happen what is expected next.
func (w *world) goOn() {
	switch {
	case len(w.orders) > 0:
		w.begin()
	case len(w.news()) > 0:
		w.tell()
	default:
		w.now = later(w.now, w.core.earliest())
		w.step(timePassed{})
	}
}

func (w *world) exitByItself() {
	if p := w.pick(func(p *process) bool { return p.leader }); p != nil {
		p.leader = false
		p.status = historytest.Pick(w.script, "status", exitStatus{}, exitStatus{code: 1}, exitStatus{signal: syscall.SIGSEGV})
	}
}

func (w *world) membersEnd() {
	if p := w.pick(func(p *process) bool { return p.members }); p != nil {
		p.members = false
	}
}

// repeat tells a fact of an attempt that is over once more.
func (w *world) repeat() {
	if len(w.past) == 0 {
		return
	}
	e := historytest.Pick(w.script, "again", w.past...)
	if g, ok := e.(groupEnded); ok {
		if p := w.process(g.id); p.members {
			return // it would be no repetition, but a lie
		}
	}
	w.step(e)
}

func (w *world) ready() {
	if p := w.pick((*process).lives); p != nil {
		w.tellOf(readyReceived{p.id})
	}
}

// pass moves the clock: to the next deadline, just before it, or past it, and
// the core hears of it.
func (w *world) pass() {
	at := w.core.earliest()
	switch how := w.script.Below("clock", 10); {
	case how == 9 && !at.IsZero():
		w.now = later(w.now, at.Add(-1))
	case how <= 6 && !at.IsZero():
		w.now = later(w.now, at)
	default:
		w.now = w.now.Add(time.Duration(w.script.Below("ms", 40_001)) * time.Millisecond)
	}
	w.step(timePassed{})
}

// timerLate lets a deadline pass that the core does not hear of yet: the next fact
// comes first.
func (w *world) timerLate() {
	w.now = later(w.now, w.core.earliest()).Add(historytest.Pick(w.script, "late by", 0, time.Millisecond, time.Second))
}

// clockJumps as after a suspension, or when the whole machine stood still.
func (w *world) clockJumps() {
	w.now = w.now.Add(historytest.Pick(w.script, "jump", time.Hour, 24*time.Hour, 10*365*24*time.Hour))
}

// clockGoesBack as nobody wants it to. What is due gets due later.
func (w *world) clockGoesBack() {
	w.now = w.now.Add(-historytest.Pick(w.script, "back", time.Nanosecond, time.Second, time.Minute, time.Hour))
}

func (w *world) applySome() {
	w.applys++
	a := link.Apply{ID: w.applys, Reload: w.script.OneIn("reload", 2)}
	for _, name := range []string{"a", "b"} {
		if !w.script.OneIn("without "+name, 4) {
			a.Specs = append(a.Specs, w.spec(name))
		}
	}
	if w.applys == 1 && w.script.OneIn("second manager", 2) {
		w.census.Saw("a second manager")
		for n := range w.script.Below("remembered", 3) + 1 {
			a.Remembered = append(a.Remembered, link.Instance{Companion: control.Companion{
				Name: "a", Instance: n + 1, Exits: n, Failures: n,
				State:   historytest.Pick(w.script, "state", control.Stopped, control.Exited, control.Fatal, control.Backoff),
				Desired: historytest.Pick(w.script, "desired", control.Up, control.Down),
				Hash:    historytest.Pick(w.script, "hash", "other", w.spec("a").Hash),
			}})
		}
	}
	w.step(applyAsked{a})
}

func (w *world) spec(name string) config.Companion {
	s := specOf(name)
	// Few variants, so that an apply often changes nothing.
	switch w.script.Below("variant", 5) {
	case 0:
		s.MaxLifetime = 20 * time.Second // recycled before its failures are forgotten
	case 1:
		s.Autorestart, s.StopGroup = config.RestartOnFailure, false
		s.OnReload.Restart = true
	case 2:
		s.Autorestart, s.Essential = config.RestartNever, true
		s.MaxLifetime, s.MaxLifetimeJitter = time.Minute, time.Second
		s.OnReload.Signal = syscall.SIGHUP
		s.ReloadTimeout = 2 * time.Minute
	case 3:
		s.Startretries, s.BackoffInitial, s.Startsecs = 2, 0, 0
		s.StopTimeout = 0
	case 4:
		s.Startretries = 4
		s.MaxMemory = 1 << 20
	}
	s.Hash = fmt.Sprint(s.Autorestart, s.Startretries)
	s.Numprocs = w.script.Below("numprocs", 3) + 1
	s.Autostart = !w.script.OneIn("no autostart", 4)
	return s
}

func (w *world) actOn() {
	op := historytest.Pick(w.script, "op", opStart, opStop, opRestart, opSignal)
	name := historytest.Pick(w.script, "name", "a", "a", "b", "nobody")
	w.act(op, name, w.script.Below("instance", 4), !w.script.OneIn("does not wait", 4))
}

func (w *world) act(op, name string, instance int, wait bool) uint64 {
	w.acts++
	w.step(actAsked{link.Act{ID: w.acts, Op: op, Name: name, Instance: instance, Signal: syscall.SIGUSR1, Wait: wait}})
	return w.acts
}
