package arbiter

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
)

// epoch is when every table begins.
var epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// configOf is a web tier of that many workers, which report that they are ready,
// with the defaults of the configuration; 0: none.
func configOf(workers int, change ...func(*config.Config)) *config.Config {
	c := &config.Config{
		Name:    "app",
		Server:  config.Server{GracefulTimeout: 30 * time.Second, Umask: config.Inherit},
		Manager: config.Manager{ShutdownBuffer: 10 * time.Second},
		Hooks:   config.Hooks{Timeout: 10 * time.Second},
	}
	if workers > 0 {
		c.Worker = &config.Worker{
			Count: workers, Ready: "notify", ReadyAfter: time.Second, BootTimeout: time.Minute,
			Timeout: 30 * time.Second, AbortGrace: 2 * time.Second, BootRetries: 5,
			MaxSurge: config.MaxSurge{N: 100, Percent: true}, StopSignal: syscall.SIGTERM,
		}
		c.Worker.Command = []string{"web"}
		c.Worker.Umask = config.Inherit
		c.Worker.Stdout, c.Worker.Stderr = "inherit", "inherit"
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// companions adds companions with a stop window of a minute.
func companions(names ...string) func(*config.Config) {
	return func(c *config.Config) {
		for _, name := range names {
			s := config.Companion{Name: name, Numprocs: 1, Autostart: true, StopSignal: syscall.SIGTERM, StopTimeout: time.Minute, StopGroup: true, Hash: name}
			s.Command = []string{name}
			c.Companions = append(c.Companions, s)
		}
		c.Manager.StopTimeout, c.Manager.ReloadTimeout = 70*time.Second, 70*time.Second
	}
}

func surge(n int) func(*config.Config) {
	return func(c *config.Config) { c.Worker.MaxSurge = config.MaxSurge{N: n} }
}

func hooks(names ...string) func(*config.Config) {
	return func(c *config.Config) {
		c.Hooks.Commands = map[string][]string{}
		for _, n := range names {
			c.Hooks.Commands[n] = []string{n}
		}
	}
}

// rig drives a core by hand, one event at a time, on a clock that only the test
// moves. Starts succeed at once.
type rig struct {
	t      testing.TB
	core   *core
	now    time.Time
	pids   int
	tokens uint64
	last   []action // of the last event, and of the starts that it ordered
	all    []action
}

func newRig(t testing.TB, cfg *config.Config) *rig {
	r := &rig{t: t, core: newCore(cfg, []string{"tcp://127.0.0.1:8000"}, epoch, func() float64 { return 0.5 }), now: epoch, pids: 100}
	return r.do(began{})
}

// serving is a rig whose workers and manager are up, an hour after their start.
func serving(t testing.TB, cfg *config.Config) *rig {
	t.Helper()
	r := newRig(t, cfg)
	if len(cfg.Companions) > 0 {
		r.managerUp()
	}
	for r.allReady(); len(r.core.status(r.now).Workers.List) > r.live(); r.allReady() {
		r.pass(paceInterval)
	}
	if r.core.state != serverRunning {
		t.Fatalf("not running: %s", r.core.state)
	}
	return r.pass(time.Hour)
}

func (r *rig) do(e event) *rig {
	r.last = nil
	r.step(e)
	return r
}

func (r *rig) step(e event) {
	actions := r.core.step(r.now, e)
	r.last = append(r.last, actions...)
	r.all = append(r.all, actions...)
	for _, a := range actions {
		switch a := a.(type) {
		case startWorker:
			r.pids++
			r.step(workerStarted{a.id, r.pids})
		case startManager:
			r.pids++
			r.step(managerStarted{a.attempt, r.pids})
		}
	}
}

// pass lets time pass and looks at the deadlines, until none is due.
func (r *rig) pass(d time.Duration) *rig {
	r.t.Helper()
	r.now = r.now.Add(d)
	r.do(timePassed{})
	for n := 0; due(r.core.earliest(), r.now); n++ {
		if n > 100 {
			r.t.Fatalf("a deadline is due again and again: %v", r.core.earliest())
		}
		r.step(timePassed{})
	}
	return r
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

func (r *rig) slot(n int) *slot {
	r.t.Helper()
	if n > len(r.core.slots) {
		r.t.Fatalf("there is no slot %d", n)
	}
	return r.core.slots[n-1]
}

// worker is the youngest of a slot.
func (r *rig) worker(n int) *worker {
	r.t.Helper()
	s := r.slot(n)
	if len(s.workers) == 0 {
		r.t.Fatalf("slot %d has no worker", n)
	}
	return s.workers[len(s.workers)-1]
}

// at finds an attempt, "1.2" being the second of slot 1.
func (r *rig) at(attempt string) *worker {
	r.t.Helper()
	w := r.core.find(idOf(attempt))
	if w == nil {
		r.t.Fatalf("there is no worker %s", attempt)
	}
	return w
}

func idOf(attempt string) id {
	var a id
	if _, err := fmt.Sscanf(attempt, "%d.%d", &a.slot, &a.attempt); err != nil {
		panic(err)
	}
	return a
}

// ready says READY=1 for attempts.
func (r *rig) ready(attempts ...string) *rig {
	r.last = nil
	for _, a := range attempts {
		r.step(workerSaid{id: idOf(a), ready: true})
	}
	return r
}

// allReady says it for all that boot, until none does.
func (r *rig) allReady() *rig {
	r.t.Helper()
	r.last = nil
	for range 100 {
		booted := false
		for _, s := range r.core.slots {
			for _, w := range slices.Clone(s.workers) {
				if w.leader && w.phase == booting {
					r.step(workerSaid{id: w.id, ready: true})
					booted = true
				}
			}
		}
		if !booted {
			return r
		}
	}
	r.t.Fatal("workers boot for ever")
	return r
}

func (r *rig) beat(attempt string) *rig { return r.do(workerSaid{id: idOf(attempt), beat: true}) }

func (r *rig) exit(attempt string, s exitStatus) *rig {
	return r.do(workerExited{id: idOf(attempt), status: s})
}

func (r *rig) exitLeaving(attempt string, s exitStatus) *rig {
	return r.do(workerExited{id: idOf(attempt), status: s, groupAlive: true})
}

func (r *rig) gone(attempt string) *rig { return r.do(workerGroupEnded{idOf(attempt)}) }

// drained ends every worker that was asked to.
func (r *rig) drained() *rig {
	r.last = nil
	for _, s := range r.core.slots {
		for _, w := range slices.Clone(s.workers) {
			if w.asked && w.leader {
				r.step(workerExited{id: w.id, status: exitStatus{}})
			}
		}
	}
	return r
}

var (
	crash    = exitStatus{code: 1}
	byKill   = exitStatus{signal: syscall.SIGKILL}
	byTerm   = exitStatus{signal: syscall.SIGTERM}
	noStart  = exitStatus{code: 127, startError: "cannot start web: no such file or directory"}
	exitedOK = exitStatus{}
)

// reload asks, and has the configuration loaded at once.
func (r *rig) reload(next *config.Config) (token uint64) {
	token = r.askReload()
	r.loaded(next)
	return token
}

func (r *rig) askReload() (token uint64) {
	r.tokens++
	r.do(reloadAsked{token: r.tokens, by: "request"})
	return r.tokens
}

// loading is the order to load that was given last.
func (r *rig) loading() loadConfig {
	r.t.Helper()
	for i := len(r.all) - 1; i >= 0; i-- {
		if a, ok := r.all[i].(loadConfig); ok {
			return a
		}
	}
	r.t.Fatal("nothing was to be loaded")
	return loadConfig{}
}

func (r *rig) loaded(next *config.Config) *rig {
	r.t.Helper()
	return r.do(configLoaded{number: r.loading().number, config: next, listeners: []string{"tcp://127.0.0.1:8000"}})
}

// managerUp has the manager report its companions as running.
func (r *rig) managerUp() *rig {
	r.last = nil
	for i, s := range r.core.config.Companions {
		r.step(managerSaid{r.core.manager.attempt, link.Message{Instance: running(s, 500+i)}})
	}
	r.step(managerSaid{r.core.manager.attempt, link.Message{Applied: &link.Applied{ID: r.core.manager.applies}}})
	return r
}

// running is the report of a first instance whose group is pid.
func running(s config.Companion, pid int) *link.Instance {
	return &link.Instance{
		Companion: control.Companion{Name: s.Name, Instance: 1, State: control.Running, Desired: control.Up, PID: pid},
		Group:     pid, StopSignal: s.StopSignal, StopTimeout: s.StopTimeout, StopGroup: s.StopGroup,
	}
}

func (r *rig) managerDies(s exitStatus) *rig {
	return r.do(managerExited{attempt: r.core.manager.attempt, status: s})
}

func (r *rig) act(op, name string) (token uint64) {
	r.tokens++
	r.do(actAsked{r.tokens, link.Act{Op: op, Name: name, Wait: true}})
	return r.tokens
}

func (r *rig) scale(to, delta int) (token uint64) {
	r.tokens++
	r.do(scaleAsked{token: r.tokens, to: to, delta: delta, by: "request"})
	return r.tokens
}

func (r *rig) stop(quick bool) *rig { return r.do(stopAsked{quick: quick, by: "SIGTERM"}) }

// answers are all replies to a token: "" for success.
func (r *rig) answers(token uint64) []string {
	var found []string
	for _, a := range r.all {
		if a, ok := a.(reply); ok && a.token == token {
			found = append(found, answerText(a.value))
		}
	}
	return found
}

func answerText(v any) string {
	switch v := v.(type) {
	case *control.Error:
		if v != nil {
			return v.Code + ": " + v.Message
		}
	case *control.Reload:
		return v.Error
	}
	return ""
}

// answered checks that a request has got this one answer; part "" is success.
func (r *rig) answered(token uint64, part string) *rig {
	r.t.Helper()
	got := r.answers(token)
	if len(got) != 1 || !strings.Contains(got[0], part) || part == "" && got[0] != "" {
		r.t.Errorf("answers %q, want one with %q", got, part)
	}
	return r
}

func (r *rig) unanswered(token uint64) *rig {
	r.t.Helper()
	if got := r.answers(token); len(got) != 0 {
		r.t.Errorf("answered already: %q", got)
	}
	return r
}

// orders checks what the last event wants of processes.
func (r *rig) orders(want ...string) *rig {
	r.t.Helper()
	if got := said(r.last); !slices.Equal(got, want) {
		r.t.Errorf("orders:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	return r
}

// said are the orders about processes in words.
func said(actions []action) []string {
	var words []string
	for _, a := range actions {
		switch a := a.(type) {
		case startWorker:
			words = append(words, fmt.Sprintf("start %d.%d generation %d", a.slot, a.attempt, a.generation.number))
		case signalWorker:
			words = append(words, fmt.Sprintf("%s %d.%d", proc.SignalName(a.signal), a.slot, a.attempt))
		case signalWorkerGroup:
			words = append(words, fmt.Sprintf("%s group %d.%d", proc.SignalName(a.signal), a.slot, a.attempt))
		case startManager:
			words = append(words, fmt.Sprintf("start manager %d", a.attempt))
		case signalManager:
			words = append(words, fmt.Sprintf("%s manager %d", proc.SignalName(a.signal), a.attempt))
		case tellManager:
			words = append(words, fmt.Sprintf("tell manager %d %s", a.attempt, messageText(a.message)))
		case signalAdopted:
			whom := "leader"
			if a.whole {
				whom = "group"
			}
			words = append(words, fmt.Sprintf("%s adopted %s %d", proc.SignalName(a.signal), whom, a.group))
		case finish:
			words = append(words, fmt.Sprintf("finish %d", a.code))
		}
	}
	return words
}

func messageText(m link.Message) string {
	switch {
	case m.Apply != nil:
		return fmt.Sprintf("apply %d", len(m.Apply.Specs))
	case m.Stop != nil && m.Stop.Quick:
		return "stop quick"
	case m.Stop != nil:
		return "stop"
	case m.Act != nil:
		return m.Act.Op + " " + m.Act.Name
	case m.Reopen != nil:
		return "reopen"
	case m.Logs != nil && m.Logs.Taken > 0:
		return fmt.Sprintf("taken %d", m.Logs.Taken)
	case m.Logs != nil && m.Logs.Cancel:
		return "cancel logs"
	case m.Logs != nil:
		return "logs " + m.Logs.Name
	}
	return "?"
}

// logged returns the record of the last event that has this name.
func (r *rig) logged(event string) record {
	r.t.Helper()
	for _, a := range r.last {
		if a, ok := a.(record); ok && a.event == event {
			return a
		}
	}
	r.t.Errorf("no %s in the log", event)
	return record{}
}

func (r *rig) notLogged(event string) *rig {
	r.t.Helper()
	for _, a := range r.last {
		if a, ok := a.(record); ok && a.event == event {
			r.t.Errorf("%s in the log: %v", event, a)
		}
	}
	return r
}

func (rec record) attr(name string) string {
	for _, a := range rec.attrs {
		if a.Key == name {
			return a.Value.String()
		}
	}
	return ""
}

func (r *rig) logs(event string, level slog.Level, attrs ...string) *rig {
	r.t.Helper()
	rec := r.logged(event)
	if rec.level != level {
		r.t.Errorf("%s is logged at %s, want %s", event, rec.level, level)
	}
	for i := 0; i < len(attrs); i += 2 {
		if got := rec.attr(attrs[i]); got != attrs[i+1] {
			r.t.Errorf("%s: %s=%q, want %q", event, attrs[i], got, attrs[i+1])
		}
	}
	return r
}

func (r *rig) is(attempt string, want phase) *rig {
	r.t.Helper()
	if w := r.at(attempt); w.phase != want {
		r.t.Errorf("worker %s is %s, want %s", attempt, w.phase, want)
	}
	return r
}

// shows checks the slots as "attempt generation phase", in order.
func (r *rig) shows(want ...string) *rig {
	r.t.Helper()
	var got []string
	for _, s := range r.core.slots {
		for _, w := range s.workers {
			got = append(got, fmt.Sprintf("%d.%d generation %d %s", w.slot, w.attempt, w.generation.number, w.phase))
		}
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("workers:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	return r
}

// hasHook says how a hook was run in the last step, "" = it was not.
func (r *rig) hasHook(name string) (env []string, ok bool) {
	for _, a := range r.last {
		if h, is := a.(runHook); is && h.name == name {
			return h.env, true
		}
	}
	return nil, false
}
