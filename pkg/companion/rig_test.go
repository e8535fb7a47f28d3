package companion

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
)

// epoch is when every table begins.
var epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// specOf is a companion with the defaults of the configuration.
func specOf(name string, change ...func(*config.Companion)) config.Companion {
	s := config.Companion{
		Name: name, Numprocs: 1, Autostart: true, Autorestart: config.RestartAlways, SuccessCodes: []int{0},
		Startsecs: time.Second, BackoffInitial: time.Second, BackoffMax: 30 * time.Second, BackoffReset: 30 * time.Second,
		StopSignal: syscall.SIGTERM, StopTimeout: time.Minute, ReloadTimeout: 45 * time.Second, StopGroup: true, Hash: "1",
	}
	s.Command = []string{name}
	s.Stdout, s.Stderr = "inherit", "inherit"
	s.Umask = config.Inherit
	for _, f := range change {
		f(&s)
	}
	return s
}

// rig drives a core by hand, one event at a time, on a clock that only the test
// moves. It does not begin ordered starts by itself.
type rig struct {
	t       testing.TB
	core    *core
	now     time.Time
	pids    int
	acts    uint64
	applies uint64
	last    []action // of the last event
	all     []action
}

func newRig(t testing.TB, specs ...config.Companion) *rig {
	r := &rig{t: t, core: newCore(func() float64 { return 0.5 }), now: epoch, pids: 100}
	if len(specs) > 0 {
		r.apply(specs...)
	}
	return r
}

func (r *rig) do(e event) *rig {
	r.last = r.core.step(r.now, e)
	r.all = append(r.all, r.last...)
	return r
}

func (r *rig) apply(specs ...config.Companion) *rig {
	return r.applyAll(link.Apply{Specs: specs})
}

func (r *rig) reload(specs ...config.Companion) *rig {
	return r.applyAll(link.Apply{Specs: specs, Reload: true})
}

func (r *rig) applyAll(a link.Apply) *rig {
	r.applies++
	a.ID = r.applies
	return r.do(applyAsked{a})
}

// byHand is a companion that is started by request only.
func byHand(s *config.Companion) { s.Autostart = false }

// act asks and waits; "a" means all instances, "a:2" one.
func (r *rig) act(op, target string) (id uint64) {
	r.acts++
	name, number := split(target)
	r.do(actAsked{link.Act{ID: r.acts, Op: op, Name: name, Instance: number, Wait: true, Signal: syscall.SIGHUP}})
	return r.acts
}

func split(target string) (name string, number int) {
	name, n, ok := strings.Cut(target, ":")
	if ok {
		fmt.Sscan(n, &number)
	}
	return name, number
}

// get returns the instance "a" (the first) or "a:2".
func (r *rig) get(target string) *instance {
	r.t.Helper()
	i := r.find(target)
	if i == nil {
		r.t.Fatalf("there is no instance %s", target)
	}
	return i
}

func (r *rig) find(target string) *instance {
	name, number := split(target)
	return r.core.byKey[key{name, max(number, 1)}]
}

// begin carries the ordered start out.
func (r *rig) begin(target string) *rig {
	r.t.Helper()
	i := r.get(target)
	if !r.core.due(i.id()) {
		r.t.Fatalf("no start of %s is due: it is %s", target, i.phase)
	}
	r.pids++
	return r.do(processStarted{i.id(), r.pids})
}

// up brings the instance to RUNNING.
func (r *rig) up(target string) *rig {
	r.t.Helper()
	return r.begin(target).do(readyReceived{r.get(target).id()})
}

func (r *rig) exit(target string, s exitStatus) *rig {
	return r.do(processExited{id: r.get(target).id(), status: s})
}

func (r *rig) exitLeaving(target string, s exitStatus) *rig {
	return r.do(processExited{id: r.get(target).id(), status: s, groupAlive: true})
}

func (r *rig) gone(target string) *rig { return r.do(groupEnded{r.get(target).id()}) }

// pass lets time pass and looks at the deadlines, once.
func (r *rig) pass(d time.Duration) *rig {
	r.now = r.now.Add(d)
	return r.do(timePassed{})
}

// passTo lets time pass until one nanosecond before d is over, sees that nothing
// happens, and then until it is over.
func (r *rig) passTo(d time.Duration) *rig {
	r.t.Helper()
	r.pass(d - 1)
	if len(r.last) > 0 {
		r.t.Fatalf("one nanosecond before %v: %q", d, said(r.last))
	}
	return r.pass(1)
}

// crash is an exit that nobody asked for.
var crash = exitStatus{code: 1}

func (r *rig) is(target string, want phase) *rig {
	r.t.Helper()
	if i := r.get(target); i.phase != want {
		r.t.Errorf("%s is %s, want %s", target, i.phase, want)
	}
	return r
}

// wants checks the last step, record attributes left out.
func (r *rig) wants(want ...string) *rig {
	r.t.Helper()
	if got := said(r.last); !slices.Equal(got, want) {
		r.t.Errorf("actions:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	return r
}

// orders are what the last step wants of the system.
func (r *rig) orders(want ...string) *rig {
	r.t.Helper()
	var got []string
	for _, a := range r.last {
		switch a.(type) {
		case startProcess, signalProcess, signalGroup, finish:
			got = append(got, say(a))
		}
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("orders %q, want %q", got, want)
	}
	return r
}

// answer returns what a request was told, "" for nothing yet, "done" for success.
func (r *rig) answer(id uint64) string {
	r.t.Helper()
	var found []string
	for _, a := range r.all {
		if s, ok := a.(send); ok && s.message.Done != nil && s.message.Done.ID == id {
			text := "done"
			if s.message.Done.Code != "" {
				text = s.message.Done.Code + ": " + s.message.Done.Message
			}
			found = append(found, text)
		}
	}
	if len(found) > 1 {
		r.t.Errorf("request %d was answered %d times: %q", id, len(found), found)
	}
	return strings.Join(found, "\n")
}

func (r *rig) answered(id uint64, want string) *rig {
	r.t.Helper()
	if got := r.answer(id); got != want {
		r.t.Errorf("request %d was told %q, want %q", id, got, want)
	}
	return r
}

// recorded returns the last record of an event.
func (r *rig) recorded(event string) record {
	r.t.Helper()
	for _, a := range slices.Backward(r.all) {
		if rec, ok := a.(record); ok && rec.event == event {
			return rec
		}
	}
	r.t.Fatalf("there is no record %s", event)
	return record{}
}

func attr(rec record, name string) any {
	for _, a := range rec.attrs {
		if a.Key == name {
			return a.Value.Any()
		}
	}
	return nil
}

func said(actions []action) []string {
	out := make([]string, 0, len(actions))
	for _, a := range actions {
		out = append(out, say(a))
	}
	return out
}

// say writes an action as a short sentence.
func say(a action) string {
	switch a := a.(type) {
	case startProcess:
		return fmt.Sprintf("start %s#%d", a.key, a.attempt)
	case signalProcess:
		return fmt.Sprintf("%s to %s#%d", proc.SignalName(a.signal), a.key, a.attempt)
	case signalGroup:
		return fmt.Sprintf("%s to group %s#%d", proc.SignalName(a.signal), a.key, a.attempt)
	case record:
		return a.level.String() + " " + a.event
	case forget:
		return "forget " + a.key.String()
	case finish:
		return "finish"
	case send:
		return sayMessage(a.message)
	}
	panic(fmt.Sprintf("unknown action %T", a))
}

func sayMessage(m link.Message) string {
	switch {
	case m.Instance != nil:
		return fmt.Sprintf("%s is %s", m.Instance.ID(), m.Instance.State)
	case m.Removed != nil:
		return key{m.Removed.Name, m.Removed.Instance}.String() + " is no more"
	case m.Applied != nil:
		return fmt.Sprintf("applied %d", m.Applied.ID)
	case m.Final != nil:
		return fmt.Sprintf("final %s: %d", m.Final.Name, m.Final.Code)
	case m.Done != nil:
		return strings.TrimSpace(fmt.Sprintf("done %d %s", m.Done.ID, m.Done.Code))
	}
	panic(fmt.Sprintf("unknown message %+v", m))
}

const (
	info  = slog.LevelInfo
	warn  = slog.LevelWarn
	alarm = slog.LevelError
)
