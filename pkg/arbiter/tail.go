package arbiter

import (
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// tailBuffer is how many batches of lines a reader of logs may be behind before
// it is dropped.
const tailBuffer = 1024

// tail is one request for the output of a companion.
type tail struct {
	first chan<- *control.Error // gets the refusal, or nil with the first batch; then nil itself
	lines chan []string         // closed at the end
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

// lines passes on what the manager has sent. A slow reader is dropped.
func (l *loop) lines(m *link.Lines) {
	t := l.tails[m.ID]
	if t == nil {
		return
	}
	if m.Error != nil {
		m.Error.Status = 409
		t.begin(m.Error)
	} else {
		t.begin(nil)
	}
	if len(m.Lines) > 0 {
		select {
		case t.lines <- m.Lines:
		default:
			l.endTail(m.ID)
			return
		}
	}
	if m.End {
		delete(l.tails, m.ID)
		close(t.lines)
	}
}

// endTail ends a request from this side.
func (l *loop) endTail(id uint64) {
	t := l.tails[id]
	if t == nil {
		return
	}
	delete(l.tails, id)
	close(t.lines)
	if l.manager.conn != nil {
		l.manager.conn.Send(link.Message{Logs: &link.Logs{ID: id, Cancel: true}})
	}
}

// endTails ends them all: the manager is gone.
func (l *loop) endTails() {
	for id, t := range l.tails {
		t.begin(control.Unavailablef("cannot show the logs: the manager died"))
		delete(l.tails, id)
		close(t.lines)
	}
}
