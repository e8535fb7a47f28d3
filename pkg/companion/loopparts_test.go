package companion

import (
	"io"
	"log/slog"
	"net"
	"slices"
	"testing"

	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/proc/proctest"
)

// newLoopForTest is a loop that is not run: a test calls its parts. What it says
// to the arbiter is dropped.
func newLoopForTest(t *testing.T, change ...func(*Options)) *loop {
	t.Helper()
	ours, theirs := net.Pipe()
	conn := link.New(theirs)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, ours)
	}()
	system := proctest.New(func(proc.Command) proctest.Script { return proctest.Script{} })
	o := Options{
		Link: conn, System: system, Logger: slog.New(slog.DiscardHandler), ArbiterPID: 7,
		Random:     func() float64 { return 0.5 },
		TargetSpec: func(s TargetSpec) (string, error) { return s.Name, nil },
	}
	for _, f := range change {
		f(&o)
	}
	l := newLoop(o)
	t.Cleanup(func() {
		l.close()
		conn.Close()
		ours.Close()
		<-drained
		system.Close()
	})
	return l
}

func TestMessagesOfOneStepAreOfOneMoment(t *testing.T) {
	actions := []action{
		send{link.Message{Instance: &link.Instance{}}},
		signalProcess{},
		record{event: "companion.exited"},
		startProcess{},
		record{event: "companion.backoff"},
		forget{},
	}
	together(actions)
	var more []bool
	for _, a := range actions {
		switch a := a.(type) {
		case send:
			more = append(more, a.message.More)
		case record:
			more = append(more, a.more)
		}
	}
	if want := []bool{true, true, false}; !slices.Equal(more, want) {
		t.Errorf("more follows: %v, want %v", more, want)
	}
}
