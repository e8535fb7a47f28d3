package link

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
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

// peer is one end, whose messages are taken one by one.
type peer struct {
	*Conn
	taken []Message
}

// ends are both ends of a real socket pair.
func ends(t testing.TB) (a, b *peer) {
	t.Helper()
	left, right, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	a, b = &peer{}, &peer{}
	if a.Conn, err = Open(left); err != nil {
		t.Fatal(err)
	}
	if b.Conn, err = Open(right); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		go discard(b.Conn) // a Close that waits for its peer's reading is not this test's
		a.Close()
		b.Close()
	})
	return a, b
}

func discard(c *Conn) {
	for range c.Received() {
	}
}

func next(t testing.TB, p *peer) Message {
	t.Helper()
	if len(p.taken) == 0 {
		var ok bool
		if p.taken, ok = <-p.Received(); !ok {
			t.Fatal("the peer is gone")
		}
	}
	m := p.taken[0]
	p.taken = p.taken[1:]
	return m
}

func TestMessagesArriveInTheirOrderBothWays(t *testing.T) {
	a, b := ends(t)
	const n = 2000
	var sending sync.WaitGroup
	for _, c := range []*peer{a, b} {
		sending.Go(func() {
			for id := range uint64(n) {
				c.Send(Message{Done: &Done{ID: id}})
			}
		})
	}
	for _, c := range []*peer{b, a} {
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

// A peer that was killed while it wrote leaves half a frame: that is no message.
func TestTornLastFrameIsNoMessage(t *testing.T) {
	ours, theirs := net.Pipe()
	c := New(ours)
	go func() {
		whole, _ := appendFrame(nil, &Message{Stop: &Stop{Quick: true}})
		torn, _ := appendFrame(whole, &Message{Act: &Act{ID: 1, Op: "stop"}})
		_, _ = theirs.Write(torn[:len(torn)-1])
		theirs.Close()
	}()
	if m := next(t, &peer{Conn: c}); m.Stop == nil {
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
	for _, value := range []any{math.NaN(), make(chan int)} {
		a.Send(Message{Apply: &Apply{Specs: []config.Companion{{Options: map[string]any{"x": value}}}}})
	}
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
	var all []byte
	for _, m := range []Message{
		{Stop: &Stop{}},
		{Apply: &Apply{ID: 1, Specs: []config.Companion{{Name: "a"}}}},
		{Act: &Act{ID: math.MaxUint64}},
		{Event: &Event{Event: "companion.started", Attrs: Attrs(`{"pid":1}`)}},
		{Instance: filled().Instance},
		{},
	} {
		frame, err := appendFrame(nil, &m)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, frame...)
		f.Add(frame)
	}
	f.Add(all)
	f.Add([]byte("\x00\xff\xff\xffj[[[[[[[[{"))
	f.Add([]byte("\x03\x00\x00\x00?abc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := New(&reader{strings.NewReader(string(data))})
		for messages := range c.Received() {
			for _, m := range messages {
				if _, err := appendFrame(nil, &m); err != nil {
					t.Errorf("%+v cannot be written again: %v", m, err)
				}
			}
		}
		c.Close()
	})
}

// reader is a stream that only reads.
type reader struct{ io.Reader }

func (*reader) Write(p []byte) (int, error) { return len(p), nil }
func (*reader) Close() error                { return nil }

func TestAttrsArriveAsTheyWereLogged(t *testing.T) {
	attrs := AttrsOf([]slog.Attr{
		slog.String("plain", "pid 14"), slog.String("quoted", "a \"b\" \\ \n é \u2028"), slog.Int("n", -3), slog.Uint64("u", math.MaxUint64),
		slog.Bool("expected", true), slog.Duration("delay", 1500*time.Millisecond), slog.Any("output", []string{"x", "y"}),
		slog.Any("nan", math.NaN()), slog.Any("channel", make(chan int)), slog.Float64("f", 0.25),
	})
	got, err := json.Marshal(attrs.Map())
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"delay":1.5,"expected":true,"f":0.25,"n":-3,"output":["x","y"],"plain":"pid 14","quoted":"a \"b\" \\ \n é \u2028","u":18446744073709552000}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if m := AttrsOf(nil).Map(); m != nil {
		t.Errorf("no attributes are %v", m)
	}
}

// Many messages wake their receiver once, not once each.
func TestMessagesThatCameTogetherAreTakenTogether(t *testing.T) {
	a, b := ends(t)
	messages := make([]Message, 100)
	for n := range messages {
		messages[n] = Message{Done: &Done{ID: uint64(n)}}
	}
	a.Send(messages...)
	wakes := 0
	for n := 0; n < len(messages); wakes++ {
		got, ok := <-b.Received()
		if !ok {
			t.Fatal("the peer is gone")
		}
		n += len(got)
	}
	if wakes > len(messages)/4 {
		t.Errorf("%d messages were handed over in %d pieces", len(messages), wakes)
	}
}
