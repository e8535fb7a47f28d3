package link

import (
	"fmt"
	"net"
	"testing"
	"testing/synctest"

	"github.com/gofork/gofork/pkg/control"
)

func instanceOf(name string, pid int) Message {
	return Message{Instance: &Instance{Companion: control.Companion{Name: name, Instance: 1, PID: pid}}}
}

// An arbiter that is stopped for long (SIGSTOP) while companions crash in a loop
// costs the manager a bounded queue: the newest record of each instance is in it,
// answers are, and of the events the first.
func TestQueueToAStoppedPeerIsBounded(t *testing.T) {
	var q queue
	const crashes = 5 * maxQueued
	for n := range crashes {
		for _, name := range []string{"a", "b"} {
			q.add(instanceOf(name, n))
			q.add(Message{Event: &Event{Event: "companion.exited"}})
		}
	}
	q.add(Message{Done: &Done{ID: 5}})
	messages := q.take()
	if len(messages) > maxQueued+maxEvents+10 {
		t.Errorf("%d messages wait", len(messages))
	}
	last, events := map[string]int{}, 0
	for _, m := range messages {
		switch {
		case m.Instance != nil:
			last[m.Instance.Name] = m.Instance.PID
		case m.Event != nil:
			events++
		}
	}
	if last["a"] != crashes-1 || last["b"] != crashes-1 {
		t.Errorf("the newest records are %v, want %d", last, crashes-1)
	}
	if events != maxEvents || messages[len(messages)-1].Done == nil {
		t.Errorf("%d events, last message %+v", events, messages[len(messages)-1])
	}
	q.add(Message{Event: &Event{Event: "companion.started"}})
	q.add(Message{Event: &Event{Event: "companion.running"}})
	after := q.take()
	if lost := after[0].Event.Lost; lost != 2*crashes-maxEvents {
		t.Errorf("%d events are said to be lost, %d were", lost, 2*crashes-maxEvents)
	}
	if after[1].Event.Lost != 0 {
		t.Errorf("they are said to be lost twice")
	}
}

// Whoever waits for the end of a moment must not wait for a message that was
// dropped.
func TestMomentEndsWithoutItsLastMessage(t *testing.T) {
	var q queue
	for range maxEvents {
		q.add(Message{Event: &Event{}})
	}
	more := instanceOf("a", 1)
	more.More = true
	q.add(more)
	q.add(Message{Lines: &Lines{}})
	q.add(Message{Event: &Event{}}) // dropped
	all := q.take()
	if m := all[len(all)-2]; m.Instance == nil || m.More {
		t.Errorf("%+v: the moment does not end", m)
	}

	for n := range maxQueued {
		q.add(instanceOf(fmt.Sprint(n), 1))
	}
	more = instanceOf("x", 1)
	more.More = true
	q.add(more)
	q.add(instanceOf("y", 1))
	q.add(instanceOf("y", 2)) // takes the place of the last message of the moment before
	all = q.take()
	if n := len(all); n != maxQueued+2 || all[n-2].Instance.Name != "x" || all[n-2].More || all[n-1].Instance.PID != 2 {
		t.Errorf("%d messages, the last two %+v, %+v", n, all[n-2], all[n-1])
	}
}

// As long as the peer reads nothing is dropped and nothing is left out, however fast
// it comes.
func TestPeerThatReadsGetsEveryRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		a, b := New(ours), &peer{Conn: New(theirs)}
		const n = maxQueued / 2
		for pid := range n {
			a.Send(instanceOf("a", pid))
			a.Send(Message{Event: &Event{}})
		}
		for pid := range n {
			if m := next(t, b); m.Instance == nil || m.Instance.PID != pid {
				t.Fatalf("%+v, want pid %d", m.Instance, pid)
			}
			if m := next(t, b); m.Event == nil || m.Event.Lost != 0 {
				t.Fatalf("%+v", m.Event)
			}
		}
		a.Close()
		b.Close()
	})
}

// Who asks for output and gives up, again and again, leaves nothing behind.
func TestRequestThatIsTakenBackBeforeItWasSentIsNotSent(t *testing.T) {
	var q queue
	q.add(Message{Logs: &Logs{ID: 1, Cancel: true}}) // of one that was sent long ago
	for id := range uint64(100) {
		q.add(Message{Logs: &Logs{ID: id + 2, Name: "a"}})
		q.add(Message{Logs: &Logs{ID: id + 2, Cancel: true}})
	}
	if all := q.take(); len(all) != 1 || all[0].Logs.ID != 1 {
		t.Errorf("%d messages", len(all))
	}
}
