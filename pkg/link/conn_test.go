package link

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
)

// ends are both ends of a real socket pair.
func ends(t testing.TB) (a, b *Conn) {
	t.Helper()
	left, right, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	if a, err = Open(left); err != nil {
		t.Fatal(err)
	}
	if b, err = Open(right); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		go discard(b) // a Close that waits for its peer's reading is not this test's
		a.Close()
		b.Close()
	})
	return a, b
}

func discard(c *Conn) {
	for range c.Received() {
	}
}

func next(t testing.TB, c *Conn) Message {
	t.Helper()
	m, ok := <-c.Received()
	if !ok {
		t.Fatal("the peer is gone")
	}
	return m
}

func TestMessagesArriveInTheirOrderBothWays(t *testing.T) {
	a, b := ends(t)
	const n = 2000
	var sending sync.WaitGroup
	for _, c := range []*Conn{a, b} {
		sending.Go(func() {
			for id := range uint64(n) {
				c.Send(Message{Done: &Done{ID: id}})
			}
		})
	}
	for _, c := range []*Conn{b, a} {
		for id := range uint64(n) {
			if m := next(t, c); m.Done == nil || m.Done.ID != id {
				t.Fatalf("got %+v, want number %d", m, id)
			}
		}
	}
	sending.Wait()
}

func TestManySendersLoseNothing(t *testing.T) {
	a, b := ends(t)
	const senders, each = 8, 300
	for s := range senders {
		go func() {
			for n := range each {
				a.Send(Message{Lines: &Lines{ID: uint64(s), Lines: []string{fmt.Sprint(n)}}})
			}
		}()
	}
	var seen [senders]int
	for range senders * each {
		l := next(t, b).Lines
		if l.Lines[0] != fmt.Sprint(seen[l.ID]) {
			t.Fatalf("sender %d: line %s, want %d", l.ID, l.Lines[0], seen[l.ID])
		}
		seen[l.ID]++
	}
}

func thousandSpecs() []config.Companion {
	specs := make([]config.Companion, 1000)
	for n := range specs {
		specs[n] = config.Companion{
			Name: fmt.Sprintf("c%d", n), Numprocs: 2, StopSignal: syscall.SIGTERM, StopTimeout: time.Minute, Hash: "0123456789ab",
			Process: config.Process{
				Command: []string{"rq", "worker", strings.Repeat("x", 1000)}, Env: map[string]string{"K": "v\n\"quoted\" \u2028 é"},
				Credential: &config.Credential{UID: math.MaxUint32, Groups: []uint32{1}}, Rlimits: []config.Rlimit{{Name: "nofile", Soft: config.RlimInfinity}},
			},
			OnReload: config.OnReload{Signal: syscall.SIGHUP},
		}
	}
	return specs
}

// More than a socket buffer holds, and nothing of it is changed on the way.
func TestApplyOfAThousandSpecsArrivesAsItWas(t *testing.T) {
	a, b := ends(t)
	code := 3
	sent := Message{Apply: &Apply{ID: math.MaxUint64, Specs: thousandSpecs(), Reload: true, Remembered: []Instance{{
		Companion: control.Companion{Name: "c1", Instance: 2, LastExit: &control.Exit{Code: &code}}, Group: 7, StopTimeout: time.Second,
	}}}}
	a.Send(sent)
	a.Send(Message{Stop: &Stop{Quick: true}})
	if got := next(t, b); !reflect.DeepEqual(got, sent) {
		t.Error("the message differs from what was sent")
	}
	if got := next(t, b); got.Stop == nil || !got.Stop.Quick {
		t.Errorf("%+v", got)
	}
}

// A peer that takes nothing (SIGSTOP) costs memory and never a wait.
func TestSendNeverWaitsForAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		c := New(ours)
		began := time.Now()
		for range 5000 {
			c.Send(Message{Event: &Event{Message: strings.Repeat("x", 1000)}})
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("Send took %v", d)
		}
		// Close gives it a second, and not more.
		c.Close()
		if d := time.Since(began); d != time.Second {
			t.Errorf("Close took %v, want 1s", d)
		}
		theirs.Close()
	})
}

func TestCloseWritesWhatIsQueued(t *testing.T) {
	a, b := ends(t)
	for id := range uint64(500) {
		a.Send(Message{Done: &Done{ID: id}})
	}
	go a.Close()
	for id := range uint64(500) {
		if m := next(t, b); m.Done.ID != id {
			t.Fatalf("got %d, want %d", m.Done.ID, id)
		}
	}
	if _, ok := <-b.Received(); ok {
		t.Error("more than was sent")
	}
}

// The reader of a Conn may have stopped taking messages long before Close.
func TestCloseDoesNotWaitForAReceiverThatIsGone(t *testing.T) {
	a, b := ends(t)
	for id := range uint64(1000) {
		a.Send(Message{Done: &Done{ID: id}})
	}
	next(t, b)
	b.Close()
	b.Close() // twice is once
	b.Send(Message{Stop: &Stop{}})
	a.Close()
}

func TestEndOfThePeerShowsInReceived(t *testing.T) {
	a, b := ends(t)
	a.Send(Message{Reopen: &Reopen{}})
	a.Close()
	if m := next(t, b); m.Reopen == nil {
		t.Errorf("%+v", m)
	}
	if _, ok := <-b.Received(); ok {
		t.Error("a message of a peer that is gone")
	}
	for range 100 {
		b.Send(Message{Stop: &Stop{}}) // into the void, without a SIGPIPE
	}
}

// A peer that was killed while it wrote leaves half a line: that is no message.
func TestTornLastLineIsNoMessage(t *testing.T) {
	ours, theirs := net.Pipe()
	c := New(ours)
	go func() {
		_, _ = io.WriteString(theirs, `{"stop":{"quick":true}}`+"\n"+`{"act":{"id":1,"op":"sto`)
		theirs.Close()
	}()
	if m := next(t, c); m.Stop == nil {
		t.Errorf("%+v", m)
	}
	if m, ok := <-c.Received(); ok {
		t.Errorf("torn line was taken for %+v", m)
	}
	c.Close()
}

// What cannot be said in JSON is left out; what follows is not.
func TestMessageThatCannotBeEncodedDoesNotBreakTheLine(t *testing.T) {
	a, b := ends(t)
	a.Send(Message{Event: &Event{Attrs: map[string]any{"x": math.NaN()}}})
	a.Send(Message{Event: &Event{Attrs: map[string]any{"x": make(chan int)}}})
	a.Send(Message{Stop: &Stop{}})
	if m := next(t, b); m.Stop == nil {
		t.Errorf("%+v", m)
	}
}

func TestOpenRefusesWhatIsNoSocket(t *testing.T) {
	if c, err := Open(-1); err == nil {
		c.Close()
		t.Error("descriptor -1 was accepted")
	}
	var p [2]int
	if err := syscall.Pipe(p[:]); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(p[1])
	if c, err := Open(p[0]); err == nil {
		c.Close()
		t.Error("a pipe was accepted")
	}
}

// Whatever bytes come, the reader ends with them, and every message that it
// yields is one that could have been sent.
func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"stop":{}}` + "\n"))
	f.Add([]byte(`{"apply":{"id":1,"specs":[{"Name":"a"}]}}` + "\n" + `{"act":{"id":18446744073709551615}}`))
	f.Add([]byte(`{"act":{"id":-1}}`))
	f.Add([]byte("\x00\xff[[[[[[[[{"))
	f.Add([]byte(`null 5 "x"`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := New(&reader{strings.NewReader(string(data))})
		for m := range c.Received() {
			if _, err := json.Marshal(m); err != nil {
				t.Errorf("%+v cannot be written again: %v", m, err)
			}
		}
		c.Close()
	})
}

// reader is a stream that only reads.
type reader struct{ io.Reader }

func (*reader) Write(p []byte) (int, error) { return len(p), nil }
func (*reader) Close() error                { return nil }
