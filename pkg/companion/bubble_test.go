package companion

import (
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

// managed is a real manager, Run and all, on a simulated system in a bubble of
// virtual time. The test plays the arbiter.
type managed struct {
	t       *testing.T
	system  *proctest.Fake
	line    net.Conn // the arbiter's end of the stream
	arbiter *link.Conn
	signals chan os.Signal
	ended   chan struct{} // closed when Run has returned
	began   time.Time

	mu   sync.Mutex
	said []link.Message
}

// inBubble runs a test against a manager whose companions behave by their names.
// The manager must have ended, and nothing be left, when the test returns.
func inBubble(t *testing.T, scripts map[string]proctest.Script, test func(*managed)) {
	t.Helper()
	inBubbleOf(t, func(c proc.Command) proctest.Script { return scripts[companionOf(c)] }, test)
}

func inBubbleOf(t *testing.T, script func(proc.Command) proctest.Script, test func(*managed)) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		m := &managed{
			t: t, system: proctest.New(script), line: ours, arbiter: link.New(ours), signals: make(chan os.Signal, 8),
			ended: make(chan struct{}), began: time.Now(),
		}
		defer m.system.Close()
		var running sync.WaitGroup
		running.Go(func() {
			for messages := range m.arbiter.Received() {
				m.mu.Lock()
				m.said = append(m.said, messages...)
				m.mu.Unlock()
			}
		})
		running.Go(func() {
			defer close(m.ended)
			conn := link.New(theirs)
			defer conn.Close()
			Run(Options{
				Link: conn, System: m.system, Logger: slog.New(slog.DiscardHandler), Environ: []string{"PATH=/bin"},
				Self: self, ArbiterPID: 7, Signals: m.signals, Random: func() float64 { return 0.5 },
				TargetSpec: func(s TargetSpec) (string, error) { return s.Name, nil },
			})
		})
		test(m)
		synctest.Wait()
		select {
		case <-m.ended:
		default:
			t.Error("the manager runs on")
			m.line.Close()
			<-m.ended
		}
		m.arbiter.Close()
		running.Wait()
		m.system.AssertNothingLives(t)
	})
}

// companionOf is the name of the companion that a command is for.
func companionOf(c proc.Command) string { return variable(c.Env, "GOFORK_COMPANION") }

func variable(env []string, name string) string {
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// target is a companion that needs no program.
func target(name string, change ...func(*config.Companion)) config.Companion {
	return specOf(name, append(change, func(s *config.Companion) { s.Command, s.Target = nil, name })...)
}

func (m *managed) send(message link.Message) {
	m.arbiter.Send(message)
	synctest.Wait()
}

func (m *managed) apply(specs ...config.Companion) {
	m.send(link.Message{Apply: &link.Apply{ID: 1, Specs: specs}})
}

func (m *managed) act(op, name string) {
	m.send(link.Message{Act: &link.Act{ID: 1, Op: op, Name: name, Wait: true}})
}

func (m *managed) stop(quick bool) { m.send(link.Message{Stop: &link.Stop{Quick: quick}}) }

// pass lets virtual time pass and all that is due happen.
func (m *managed) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (m *managed) messages() []link.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.said)
}

// state is what the arbiter was told last of an instance.
func (m *managed) state(id string) (last control.Companion) {
	for _, message := range m.messages() {
		if i := message.Instance; i != nil && i.ID() == id {
			last = i.Companion
		}
	}
	return last
}

func (m *managed) expect(id, state string) {
	m.t.Helper()
	if got := m.state(id).State; got != state {
		m.t.Errorf("after %v %s is %s, want %s", time.Since(m.began), id, got, state)
	}
}

func (m *managed) starts(name string) (n int) {
	for _, s := range m.system.Starts() {
		if companionOf(s.Command) == name {
			n++
		}
	}
	return n
}

func (m *managed) expectStarts(name string, n int) {
	m.t.Helper()
	if got := m.starts(name); got != n {
		m.t.Errorf("after %v %s was started %d times, want %d", time.Since(m.began), name, got, n)
	}
}

// sent are the signals so far, as "SIGTERM group a".
func (m *managed) sent() (out []string) {
	names := map[int]string{}
	for _, s := range m.system.Starts() {
		names[s.PID] = companionOf(s.Command)
	}
	for _, s := range m.system.Signals() {
		whom := names[s.PID]
		if s.Group {
			whom = "group " + whom
		}
		out = append(out, proc.SignalName(s.Signal)+" "+whom)
	}
	return out
}

func (m *managed) expectSent(want ...string) {
	m.t.Helper()
	if got := m.sent(); !slices.Equal(got, want) {
		m.t.Errorf("after %v the signals are %q, want %q", time.Since(m.began), got, want)
	}
}

func (m *managed) expectEnded(want bool) {
	m.t.Helper()
	ended := false
	select {
	case <-m.ended:
		ended = true
	default:
	}
	if ended != want {
		m.t.Errorf("after %v the manager has ended: %v, want %v", time.Since(m.began), ended, want)
	}
}

// doneWith is the answer to the act, "" for none yet.
func (m *managed) doneWith() string {
	for _, message := range m.messages() {
		if message.Done != nil {
			return strings.TrimSpace(fmt.Sprintf("done %s", message.Done.Message))
		}
	}
	return ""
}

var deaf = proctest.Script{On: proctest.Ignore(syscall.SIGTERM)}
