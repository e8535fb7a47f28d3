package arbiter

import (
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// tail is one request for the output of a companion. It belongs to the loop, lines
// and what is set before its end apart.
type tail struct {
	first chan<- *control.Error // gets the refusal, or nil with the first batch; then nil itself
	lines chan []string         // closed at the end; has room for all that may be on its way
	cause error                 // why it ended before the output did; set before lines is closed
}

// newTail makes a tail; what becomes of the request is told to first, which has room
// for it.
func newTail(first chan<- *control.Error) *tail {
	return &tail{first: first, lines: make(chan []string, link.LinesWindow)}
}

// end closes the lines; what is in them can still be read.
func (t *tail) end(cause error) {
	t.cause = cause
	close(t.lines)
}

// begin says, once, whether the request is answered at all.
func (t *tail) begin(refused *control.Error) {
	if t.first != nil {
		t.first <- refused
		t.first = nil
	}
}

// tail asks the manager for an instance's output.
func (l *loop) tail(q link.Logs, t *tail) (id uint64) {
	if l.manager.conn == nil {
		t.begin(control.Unavailablef("cannot show the logs of %s: there is no manager at the moment", control.Target(q.Name, q.Instance)))
		return 0
	}
	l.tokens++
	q.ID = l.tokens
	l.tails[q.ID] = t
	l.manager.conn.Send(link.Message{Logs: &q})
	return q.ID
}

// lines passes on what the manager has sent.
func (l *loop) lines(m *link.Lines) {
	t := l.tails[m.ID]
	if t == nil {
		return
	}
	var cause error
	if m.Error != nil {
		m.Error.Status = 409
		cause = m.Error
	}
	t.begin(m.Error)
	if len(m.Lines) > 0 {
		select {
		case t.lines <- m.Lines:
		default: // more than the window, which the manager keeps to
			l.endTail(m.ID, control.Conflictf("cannot show more: its reader is too slow"))
			return
		}
	}
	if m.End {
		l.endTail(m.ID, cause)
	}
}

// taken lets the manager send more: the reader has taken this many batches.
func (l *loop) taken(id uint64, batches int) {
	if l.tails[id] != nil && l.manager.conn != nil {
		l.manager.conn.Send(link.Message{Logs: &link.Logs{ID: id, Taken: batches}})
	}
}

// endTail ends a request, and lets the manager forget it.
func (l *loop) endTail(id uint64, cause error) {
	t := l.tails[id]
	if t == nil {
		return
	}
	delete(l.tails, id)
	t.end(cause)
	if l.manager.conn != nil {
		l.manager.conn.Send(link.Message{Logs: &link.Logs{ID: id, Cancel: true}})
	}
}

// endTails ends them all: the manager is gone.
func (l *loop) endTails() {
	for id, t := range l.tails {
		t.begin(control.Unavailablef("cannot show the logs: the manager died"))
		delete(l.tails, id)
		t.end(nil)
	}
}
