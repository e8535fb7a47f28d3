package companion

import (
	"context"
	"strings"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/launch"
	"github.com/gofork/gofork/pkg/link"
)

// wiringOf is where the output of a companion goes.
func wiringOf(spec *config.Companion) launch.Wiring {
	return launch.Wiring{Stdout: spec.Stdout, Stderr: spec.Stderr, MaxSize: spec.LogMaxSize, Backups: spec.LogBackups}
}

// openStreams gives the next child of an instance its descriptors.
func (l *loop) openStreams(k key, spec *config.Companion) (launch.Files, error) {
	s := l.streams[k]
	if s == nil {
		s = &launch.Streams{}
		l.streams[k] = s
	}
	return l.outputs.Open(s, wiringOf(spec), k.String(), "companion", k.name, "instance", k.number)
}

// forget ends what is kept for an instance that is no more.
func (l *loop) forget(k key) {
	if s := l.streams[k]; s != nil {
		delete(l.streams, k)
		s.Close(l.Logger)
	}
}

const (
	// settleWithin is how long the end of a companion may take to have its last
	// lines written: they are in a pipe, and on the other side is a disk.
	settleWithin = 50 * time.Millisecond
	// A crash report has so many lines, and so many bytes of each.
	reportLines = 5
	reportBytes = 1 << 10
)

// settle completes what an instance printed before its end, for the report of it
// and so that the next child begins a line of its own. While a disk hangs, only
// the first to find out waits for it: the reports of others show what is known.
func (l *loop) settle(k key) {
	s := l.streams[k]
	if s == nil || s.History() == nil {
		return
	}
	if l.settling != nil && !isClosed(l.settling) {
		return
	}
	settle, done := s.Settler(), make(chan struct{})
	l.settling = done
	l.helpers.Go(func() {
		defer close(done)
		settle()
	})
	timer := time.NewTimer(settleWithin)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// lastLines are what a crash report shows; none for the zero key.
func (l *loop) lastLines(k key) []string {
	s := l.streams[k]
	if s == nil {
		return nil
	}
	lines := s.LastLines(reportLines)
	for n, line := range lines {
		if len(line) > reportBytes {
			lines[n] = strings.ToValidUTF8(line[:reportBytes], "") + " …"
		}
	}
	return lines
}

// reopen makes every file that the manager writes be opened afresh.
func (l *loop) reopen() {
	if l.Reopen != nil {
		l.Reopen()
	}
	for k, s := range l.streams {
		s.Reopen(l.Logger.With("companion", k.name, "instance", k.number))
	}
}

// logs answers a request for the last lines of an instance. Following is a
// goroutine of its own, which ends with the request, the capture or the manager.
func (l *loop) logs(q link.Logs) {
	switch f := l.followers[q.ID]; {
	case q.Cancel:
		l.unfollow(q.ID)
		return
	case q.Taken > 0:
		if f != nil {
			f.give(q.Taken)
		}
		return
	}
	k := key{q.Name, max(q.Instance, 1)}
	refuse := func(why string) {
		l.Link.Send(link.Message{Lines: &link.Lines{ID: q.ID, End: true, Error: &control.Error{Code: codeConflict, Message: why}}})
	}
	s := l.streams[k]
	if s == nil {
		refuse("there is no output of " + k.String() + ": it has not been started yet")
		return
	}
	capture := s.History()
	if capture == nil {
		refuse("the output of " + k.String() + ` is not captured (stdout = "log", or a path with log_max_size, captures it)`)
		return
	}
	if !q.Follow {
		l.Link.Send(link.Message{Lines: &link.Lines{ID: q.ID, Lines: capture.Tail(q.Lines), End: true}})
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	f := newFollower(stop)
	l.followers[q.ID] = f
	l.helpers.Go(func() {
		defer stop()
		end := &link.Lines{ID: q.ID, End: true}
		for lines, err := range capture.Follow(ctx, q.Lines) {
			if err != nil {
				end.Error = &control.Error{Code: codeConflict, Message: "cannot show more of " + k.String() + ": " + err.Error()}
				break
			}
			// The first says that the request is taken on; it may have no line.
			if len(lines) > 0 && !f.take(ctx) {
				break
			}
			l.Link.Send(link.Message{Lines: &link.Lines{ID: q.ID, Lines: lines}})
		}
		l.Link.Send(link.Message{Lines: end})
	})
}

// follower is one who follows the output of an instance. Its room is what keeps the
// line to an arbiter that takes nothing from growing with what companions print:
// while there is none the output waits in the capture, which drops who is too far
// behind.
type follower struct {
	stop context.CancelFunc
	room chan struct{} // a token for each batch that may be sent
	last chan struct{} // closed when no more room will come: the manager ends
}

func newFollower(stop context.CancelFunc) *follower {
	f := &follower{stop: stop, room: make(chan struct{}, link.LinesWindow), last: make(chan struct{})}
	f.give(link.LinesWindow)
	return f
}

// give makes room for n more, and for no more than were ever sent.
func (f *follower) give(n int) {
	for range min(n, cap(f.room)) {
		select {
		case f.room <- struct{}{}:
		default:
			return
		}
	}
}

// take waits for room; false: there will be none.
func (f *follower) take(ctx context.Context) bool {
	select {
	case <-f.room:
		return true
	default:
	}
	select {
	case <-f.room:
		return true
	case <-f.last:
	case <-ctx.Done():
	}
	return false
}

// unfollow ends a follower, or forgets one that has ended.
func (l *loop) unfollow(id uint64) {
	if f := l.followers[id]; f != nil {
		f.stop()
		delete(l.followers, id)
	}
}
