package companion

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/proc/proctest"
)

// followed is a manager whose one companion prints what the test writes, and whose
// arbiter, the test, follows it.
type followed struct {
	t       *testing.T
	loop    *loop
	arbiter *link.Conn
	said    []link.Message // by the manager, and not looked at yet
	output  int            // the companion's standard output
}

func follow(t *testing.T) *followed {
	t.Helper()
	ours, theirs := net.Pipe()
	f := &followed{t: t, arbiter: link.New(ours)}
	conn := link.New(theirs)
	t.Cleanup(func() { conn.Close(); f.arbiter.Close() }) // after the loop's own
	f.loop = newLoopForTest(t, func(o *Options) {
		o.Link = conn
		o.System = proctest.New(func(c proc.Command) proctest.Script {
			var err error
			if f.output, err = unix.Dup(c.Files[1]); err != nil {
				t.Error(err)
			}
			return proctest.Script{}
		})
	})
	t.Cleanup(func() { _ = unix.Close(f.output) })
	l := f.loop
	l.hear([]link.Message{{Apply: &link.Apply{ID: 1, Specs: []config.Companion{target("a", logged)}}}}, true)
	for len(l.queue) > 0 || len(l.starts) > 0 {
		if len(l.queue) == 0 {
			l.start(l.starts[0])
			l.starts = l.starts[1:]
			continue
		}
		next := l.queue[0]
		l.queue = l.queue[1:]
		l.perform(next)
	}
	l.hear([]link.Message{{Logs: &link.Logs{ID: 9, Name: "a", Follow: true}}}, true)
	if first := f.next(); first == nil || first.End {
		t.Fatalf("%+v", first)
	}
	return f
}

// next is the next answer to the follower, nil when none comes.
func (f *followed) next() *link.Lines {
	f.t.Helper()
	for {
		for len(f.said) > 0 {
			m := f.said[0]
			f.said = f.said[1:]
			if m.Lines != nil {
				return m.Lines
			}
		}
		select {
		case f.said = <-f.arbiter.Received():
		case <-time.After(5 * time.Second):
			f.t.Fatal("no answer")
		}
	}
}

// print prints whole lines of 1 KiB each and returns when they have been captured.
func (f *followed) print(from, to int) {
	f.t.Helper()
	for n := from; n < to; n++ {
		if _, err := unix.Write(f.output, fmt.Appendf(nil, "%-1023d\n", n)); err != nil {
			f.t.Fatal(err)
		}
	}
	last := fmt.Sprint(to - 1)
	for deadline := time.Now().Add(5 * time.Second); ; {
		f.loop.settle(key{"a", 1})
		if tail := f.loop.streams[key{"a", 1}].History().Tail(1); len(tail) == 1 && strings.TrimSpace(tail[0]) == last {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatal("the output is not captured")
		}
	}
}

// read reads lines until there are as many, saying that they were taken, and
// returns how many messages that took.
func (f *followed) read(from, to int) (batches int) {
	f.t.Helper()
	for n := from; n < to; batches++ {
		lines := f.next()
		if lines.End {
			f.t.Fatalf("the end after %d lines of %d: %v", n, to, lines.Error)
		}
		for _, line := range lines.Lines {
			if strings.TrimSpace(line) != fmt.Sprint(n) {
				f.t.Fatalf("line %.20q, want %d", line, n)
			}
			n++
		}
		f.loop.hear([]link.Message{{Logs: &link.Logs{ID: 9, Taken: 1}}}, true)
	}
	return batches
}

func TestFollowerGetsEveryLineOfABurst(t *testing.T) {
	f := follow(t)
	f.print(0, 3000) // more than the window holds at a time
	f.read(0, 3000)
	f.loop.hear([]link.Message{{Logs: &link.Logs{ID: 9, Cancel: true}}}, true)
	if lines := f.next(); !lines.End || lines.Error != nil {
		t.Errorf("%+v", lines)
	}
	if len(f.loop.followers) != 0 {
		t.Error("the follower is still known")
	}
}

// An arbiter that takes nothing (SIGSTOP) costs the manager a window and what the
// capture keeps for a follower, however much the companion prints.
func TestFollowerOfAnArbiterThatTakesNothingIsDropped(t *testing.T) {
	f := follow(t)
	printed := 0
	for range 8 { // MiB
		f.print(printed, printed+1024)
		printed += 1024
	}
	var got, batches int
	for {
		lines := f.next()
		if lines.End {
			if lines.Error == nil || !strings.Contains(lines.Error.Message, "4 MiB behind") {
				t.Errorf("it ended with %+v", lines.Error)
			}
			break
		}
		batches++
		got += len(lines.Lines)
		if batches == link.LinesWindow { // it has read its window: it is told of the rest
			f.loop.hear([]link.Message{{Logs: &link.Logs{ID: 9, Taken: 1}}}, true)
		}
	}
	if batches > link.LinesWindow+1 || got >= printed {
		t.Errorf("%d batches with %d of %d lines were on their way", batches, got, printed)
	}
}

func TestFollowerGetsTheLastWordsWhenTheManagerEnds(t *testing.T) {
	f := follow(t)
	if _, err := unix.Write(f.output, []byte("goodbye\n")); err != nil {
		t.Fatal(err)
	}
	f.loop.close()
	if lines := f.next(); len(lines.Lines) != 1 || lines.Lines[0] != "goodbye" {
		t.Errorf("%+v", lines)
	}
	if lines := f.next(); !lines.End {
		t.Errorf("%+v", lines)
	}
	f.loop.followers = nil // close is called again by the end of the test
}
