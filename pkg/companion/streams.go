package companion

import (
	"context"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/launch"
	"github.com/gofork/gofork/pkg/link"
)

// openStreams gives the next child of an instance its descriptors.
func (l *loop) openStreams(k key, spec *config.Companion) (launch.Files, error) {
	s := l.streams[k]
	if s == nil {
		s = &launch.Streams{}
		l.streams[k] = s
	}
	w := launch.Wiring{Stdout: spec.Stdout, Stderr: spec.Stderr, MaxSize: spec.LogMaxSize, Backups: spec.LogBackups}
	return l.outputs.Open(s, w, k.String(), "companion", k.name, "instance", k.number)
}

// forget ends what is kept for an instance that is no more.
func (l *loop) forget(k key) {
	if s := l.streams[k]; s != nil {
		delete(l.streams, k)
		s.Close(l.Logger)
	}
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
	if q.Cancel {
		if stop, ok := l.followers[q.ID]; ok {
			stop()
			delete(l.followers, q.ID)
		}
		return
	}
	k := key{q.Name, max(q.Instance, 1)}
	s := l.streams[k]
	if s == nil || s.History() == nil {
		l.Link.Send(link.Message{Lines: &link.Lines{ID: q.ID, End: true, Error: &control.Error{
			Code:    codeConflict,
			Message: "the output of " + k.String() + ` is not captured (stdout = "log", or a path with log_max_size, captures it)`,
		}}})
		return
	}
	capture := s.History()
	if !q.Follow {
		l.Link.Send(link.Message{Lines: &link.Lines{ID: q.ID, Lines: capture.Tail(q.Lines), End: true}})
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	l.followers[q.ID] = stop
	l.Link.Send(link.Message{Lines: &link.Lines{ID: q.ID}}) // taken on; the first line may be long in coming
	l.following.Go(func() {
		defer stop()
		for line, err := range capture.Follow(ctx, q.Lines) {
			if err != nil {
				break
			}
			l.Link.Send(link.Message{Lines: &link.Lines{ID: q.ID, Lines: []string{line}}})
		}
		l.Link.Send(link.Message{Lines: &link.Lines{ID: q.ID, End: true}})
	})
}
