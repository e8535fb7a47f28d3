package arbiter

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/proc/proctest"
)

// served is a loop on a simulated system, in virtual time.
type served struct {
	t       *testing.T
	loop    *loop
	system  *proctest.Fake
	signals chan os.Signal
	backend *backend
	events  <-chan control.Event
	seen    []control.Event
	ended   chan struct{} // closed when the loop has ended

	mu   sync.Mutex
	far  *link.Conn // the present manager's end of the line
	told []string   // what managers were told
}

// inBubble runs a test against a loop whose children behave by their role:
// "worker", "manager", or the name of a hook. The loop must have ended, and
// nothing be left, when the test returns.
func inBubble(t *testing.T, cfg *config.Config, scripts map[string]proctest.Script, test func(*served)) {
	t.Helper()
	if cfg.Worker != nil {
		cfg.Worker.Command, cfg.Worker.Handler = nil, "hello" // needs no program
	}
	synctest.Test(t, func(t *testing.T) {
		s := &served{t: t, signals: make(chan os.Signal, 8), ended: make(chan struct{})}
		s.system = proctest.New(func(c proc.Command) proctest.Script { return scripts[roleOf(c)] })
		defer s.system.Close()
		s.loop = newLoop(Options{
			Config: cfg, System: s.system, Logger: slog.New(slog.DiscardHandler), Self: "/gofork", PID: 7, Signals: s.signals,
			Random:      func() float64 { return 0.5 },
			HandlerSpec: func(*config.Config, int, int) (string, error) { return "", nil },
			ManagerSpec: func(*config.Config, string) (string, error) { return "", nil },
			Load:        func() (*config.Config, error) { return cfg, nil },
		})
		var lines sync.WaitGroup
		s.loop.line = func() (*link.Conn, int, error) {
			ours, theirs := net.Pipe()
			far := link.New(theirs)
			s.mu.Lock()
			s.far = far
			s.mu.Unlock()
			lines.Go(func() {
				for messages := range far.Received() {
					s.mu.Lock()
					for _, m := range messages {
						s.told = append(s.told, messageText(m))
					}
					s.mu.Unlock()
				}
				far.Close()
			})
			return link.New(ours), -1, nil
		}
		requests := make(chan request)
		s.loop.requests = requests
		s.backend = &backend{running: over(), requests: requests, ended: s.loop.ended, events: s.loop.events}
		s.events = s.loop.events.follow()
		s.loop.core = newCore(cfg, nil, time.Now(), s.loop.Random)
		go func() {
			defer close(s.ended)
			s.loop.run()
			close(s.loop.ended)
		}()
		synctest.Wait()
		test(s)
		synctest.Wait()
		select {
		case <-s.ended:
		default:
			t.Fatal("the loop runs on")
		}
		s.loop.endTails()
		s.loop.endLoads()
		lines.Wait()
		s.system.AssertNothingLives(t)
	})
}

func roleOf(c proc.Command) string {
	title := ""
	if len(c.Args) > 0 {
		title = c.Args[0]
	}
	for _, kv := range c.Env {
		if name, ok := strings.CutPrefix(kv, "GOFORK_HOOK="); ok {
			return name
		}
	}
	if strings.HasSuffix(title, "manager") {
		return "manager"
	}
	return "worker"
}

// on runs f on the loop.
func (s *served) on(f func(*loop)) {
	s.t.Helper()
	if err := s.backend.put(s.t.Context(), request{run: f}); err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
}

func (s *served) say(e workerSaid) { s.on(func(l *loop) { l.step(e) }) }

// ready says READY=1 for the first attempts of these slots.
func (s *served) ready(slots ...int) {
	for _, n := range slots {
		s.say(workerSaid{id: id{n, 1}, ready: true})
	}
}

func (s *served) signal(sig syscall.Signal) {
	s.signals <- sig
	synctest.Wait()
}

func (s *served) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// before lets time pass until one nanosecond before d is over, checks that f says
// no, and at d yes.
func (s *served) before(d time.Duration, what string, f func() bool) {
	s.t.Helper()
	s.pass(d - 1)
	if f() {
		s.t.Errorf("%s one nanosecond before %v", what, d)
	}
	s.pass(1)
	if !f() {
		s.t.Errorf("no %s at %v", what, d)
	}
}

// got says whether a process got a signal.
func (s *served) got(pid int, sig syscall.Signal) func() bool {
	return func() bool { return slices.Contains(s.system.SignalsTo(pid), sig) }
}

// started are the pids of all children of a role, in order.
func (s *served) started(role string) (pids []int) {
	for _, c := range s.system.Starts() {
		if roleOf(c.Command) == role {
			pids = append(pids, c.PID)
		}
	}
	return pids
}

func (s *served) event(name string) (found []control.Event) {
	for {
		select {
		case e, ok := <-s.events:
			if ok {
				s.seen = append(s.seen, e)
				continue
			}
		default:
		}
		break
	}
	for _, e := range s.seen {
		if e.Event == name {
			found = append(found, e)
		}
	}
	return found
}

func (s *served) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// report is a message of the manager.
func (s *served) report(m link.Message) {
	s.mu.Lock()
	far := s.far
	s.mu.Unlock()
	far.Send(m)
	synctest.Wait()
}

func stubborn(sigs ...syscall.Signal) map[string]proctest.Script {
	return map[string]proctest.Script{"worker": {On: proctest.Ignore(sigs...)}}
}

func TestBootTimeoutToTheNanosecond(t *testing.T) {
	inBubble(t, configOf(1), nil, func(s *served) {
		pid := s.started("worker")[0]
		s.before(time.Minute, "SIGKILL", s.got(pid, syscall.SIGKILL))
		s.before(time.Second, "restart", func() bool { return len(s.started("worker")) == 2 })
		s.signal(syscall.SIGTERM)
	})
}

func TestHeartbeatAndAbortGraceToTheNanosecond(t *testing.T) {
	inBubble(t, configOf(1), stubborn(syscall.SIGABRT), func(s *served) {
		pid := s.started("worker")[0]
		s.say(workerSaid{id: id{1, 1}, ready: true, beat: true})
		s.pass(7 * time.Second)
		s.say(workerSaid{id: id{1, 1}, beat: true})
		s.before(30*time.Second, "SIGABRT", s.got(pid, syscall.SIGABRT))
		s.before(2*time.Second, "SIGKILL", s.got(pid, syscall.SIGKILL))
		if n := len(s.started("worker")); n != 2 {
			t.Errorf("%d starts: a worker that was ready is replaced at once", n)
		}
		s.signal(syscall.SIGTERM)
	})
}

func TestReadyAfterToTheNanosecond(t *testing.T) {
	inBubble(t, configOf(2, func(c *config.Config) { c.Worker.Ready = "alive" }), nil, func(s *served) {
		s.before(time.Second, "server.ready", func() bool { return len(s.event("server.ready")) == 1 })
		s.signal(syscall.SIGTERM)
	})
}

func TestGracefulTimeoutAndShutdownDelayToTheNanosecond(t *testing.T) {
	cfg := configOf(1, func(c *config.Config) { c.Server.ShutdownDelay = 10 * time.Second })
	inBubble(t, cfg, stubborn(syscall.SIGTERM), func(s *served) {
		s.ready(1)
		pid := s.started("worker")[0]
		s.signal(syscall.SIGTERM)
		s.before(10*time.Second, "SIGTERM", s.got(pid, syscall.SIGTERM))
		s.before(30*time.Second, "SIGKILL", s.got(pid, syscall.SIGKILL))
		if !s.over() {
			t.Error("gofork has not ended")
		}
	})
}

func TestAQuickStopToTheNanosecond(t *testing.T) {
	inBubble(t, configOf(1), stubborn(syscall.SIGTERM, syscall.SIGQUIT), func(s *served) {
		pid := s.started("worker")[0]
		s.signal(syscall.SIGTERM)
		s.pass(time.Second)
		s.signal(syscall.SIGTERM) // the second one makes it quick
		s.before(5*time.Second, "SIGKILL", s.got(pid, syscall.SIGKILL))
		if got := s.system.SignalsTo(pid); !slices.Equal(got, []syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGKILL}) {
			t.Errorf("signals %v", got)
		}
	})
}

func TestBackoffsOfASlotToTheNanosecond(t *testing.T) {
	cfg := configOf(1, func(c *config.Config) { c.Worker.BootRetries = 100 })
	inBubble(t, cfg, map[string]proctest.Script{"worker": {Life: proctest.AtOnce, Code: 1}}, func(s *served) {
		for n := range 7 {
			s.before(formula(n+1), fmt.Sprintf("attempt %d", n+2), func() bool { return len(s.started("worker")) == n+2 })
		}
		s.signal(syscall.SIGTERM)
	})
}

func TestBootRetriesAreUsedUp(t *testing.T) {
	inBubble(t, configOf(1), map[string]proctest.Script{"worker": {Life: proctest.AtOnce, Code: 1}}, func(s *served) {
		s.before(31*time.Second, "end", s.over) // 1 + 2 + 4 + 8 + 16
		if n := len(s.started("worker")); n != 6 || s.loop.code != codeBootFailed {
			t.Errorf("%d starts, code %d", n, s.loop.code)
		}
	})
}

func TestTheManagersWindowToTheNanosecond(t *testing.T) {
	cfg := configOf(0, companions("job"))
	scripts := map[string]proctest.Script{"manager": {On: proctest.Ignore(syscall.SIGTERM)}}
	inBubble(t, cfg, scripts, func(s *served) {
		s.report(link.Message{Applied: &link.Applied{ID: 1}})
		pid := s.started("manager")[0]
		s.signal(syscall.SIGTERM)
		s.before(70*time.Second, "SIGKILL", s.got(pid, syscall.SIGKILL))
		if s.over() {
			t.Error("the line has not ended, and gofork has")
		}
		s.hangUp() // the process is gone, so is its end of the line
		if got := strings.Join(s.told, ", "); got != "apply 1, stop" || !s.over() {
			t.Errorf("told %q, ended %v", got, s.over())
		}
	})
}

// hangUp ends the manager's line, as the kernel does when the process has ended.
func (s *served) hangUp() {
	s.mu.Lock()
	far := s.far
	s.mu.Unlock()
	far.Close()
	synctest.Wait()
}

func TestTheManagersBackoffToTheNanosecond(t *testing.T) {
	inBubble(t, configOf(0, companions("job")), nil, func(s *served) {
		for n := range 3 {
			s.system.Kill(s.started("manager")[n], syscall.SIGKILL)
			s.hangUp()
			s.before(formula(n+1), "restart", func() bool { return len(s.started("manager")) == n+2 })
		}
		s.system.Kill(s.started("manager")[3], syscall.SIGKILL)
		s.hangUp()
		s.signal(syscall.SIGTERM)
	})
}

func TestACompanionOfADeadManagerHasItsOwnWindow(t *testing.T) {
	cfg := configOf(0, companions("job"))
	inBubble(t, cfg, nil, func(s *served) {
		companion := s.system.Adopt(proctest.Script{On: proctest.Ignore(syscall.SIGTERM)})
		s.report(link.Message{Instance: running(cfg.Companions[0], companion)})
		s.system.Kill(s.started("manager")[0], syscall.SIGKILL)
		s.hangUp()
		s.before(time.Minute, "SIGKILL", s.got(companion, syscall.SIGKILL))
		if got := s.system.SignalsTo(companion); !slices.Equal(got, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}) {
			t.Errorf("signals %v", got)
		}
		if n := len(s.started("manager")); n != 2 {
			t.Errorf("%d managers: the next starts when the last group has ended", n)
		}
		s.signal(syscall.SIGTERM)
		s.system.Exit(s.started("manager")[1], 0)
		s.hangUp()
	})
}

func TestLeftMembersOfAWorkerToTheNanosecond(t *testing.T) {
	members := []proctest.Script{{On: proctest.Ignore(syscall.SIGTERM)}}
	inBubble(t, configOf(1), map[string]proctest.Script{"worker": {Members: members}}, func(s *served) {
		s.ready(1)
		pid := s.started("worker")[0]
		s.system.Exit(pid, 1)
		synctest.Wait()
		s.before(30*time.Second, "SIGKILL", s.got(pid, syscall.SIGKILL))
		s.signal(syscall.SIGQUIT)
		s.pass(quickWindow)
	})
}

func TestTheLoopAnswersDuringAReload(t *testing.T) {
	inBubble(t, configOf(2), nil, func(s *served) {
		s.ready(1, 2)
		s.signal(syscall.SIGHUP)
		s.pass(time.Second)
		if st, err := s.backend.Status(s.t.Context()); err != nil || st.State != control.StateReloading || len(st.Workers.List) != 4 {
			t.Errorf("%+v, %v", st, err)
		}
		s.say(workerSaid{id: id{1, 2}, ready: true})
		s.say(workerSaid{id: id{2, 2}, ready: true})
		st, err := s.backend.Status(s.t.Context())
		if err != nil || st.Generation != 2 || st.State != control.StateRunning {
			t.Errorf("%+v, %v", st, err)
		}
		if err := s.backend.Stop(s.t.Context(), control.StopRequest{}); err != nil {
			t.Error(err)
		}
	})
}

func TestAnIdleLoopIsNeverWoken(t *testing.T) {
	inBubble(t, configOf(1), nil, func(s *served) {
		s.ready(1)
		s.on(func(l *loop) {
			if l.arm(); !l.armed.IsZero() {
				t.Errorf("the timer is set to %v", l.armed)
			}
		})
		s.signal(syscall.SIGTERM)
	})
}

func TestAnAskerWhoGoesAwayChangesNothing(t *testing.T) {
	inBubble(t, configOf(1), nil, func(s *served) {
		ctx, cancel := context.WithCancel(s.t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := s.backend.Reload(ctx, control.ReloadRequest{})
			failed <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-failed; err != context.Canceled {
			t.Errorf("error %v", err)
		}
		s.say(workerSaid{id: id{1, 2}, ready: true}) // and the work goes on
		st, err := s.backend.Status(s.t.Context())
		if err != nil || st.Generation != 2 {
			t.Errorf("%+v, %v", st, err)
		}
		s.signal(syscall.SIGTERM)
		if _, err := s.backend.Status(s.t.Context()); err != errEnded {
			t.Errorf("after the end: %v", err)
		}
		if err := s.backend.Reopen(s.t.Context()); err != errEnded {
			t.Errorf("after the end: %v", err)
		}
	})
}
