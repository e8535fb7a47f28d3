package link

import "slices"

// The bounds of what waits for a peer that takes nothing, because it is stopped or
// has no CPU. In use the queue is empty or short: a manager of a thousand companions
// has some thousand messages for one moment.
const (
	maxEvents = 16 << 10 // more are dropped, and counted
	maxQueued = 16 << 10 // messages; from then on only the newest record of an instance is kept
)

// queue is what waits to be written. Answers are never dropped: the peer's own
// requests bound them, as its window ([LinesWindow]) bounds Lines. The requests are
// bounded by who asks.
type queue struct {
	messages []Message
	events   int // among the messages
	lost     int // events dropped since the last one that was not
}

func (q *queue) add(m Message) {
	if m.Event != nil {
		if q.events >= maxEvents {
			q.lost++
			q.endMoment(len(q.messages), m)
			return
		}
		q.events++
		if q.lost > 0 {
			e := *m.Event // the sender's own
			e.Lost, q.lost = q.lost, 0
			m.Event = &e
		}
	}
	switch {
	case m.Instance != nil && len(q.messages) >= maxQueued:
		q.supersede(m.Instance)
	case m.Logs != nil && m.Logs.Cancel && q.withdraw(m.Logs.ID):
		return
	}
	q.messages = append(q.messages, m)
}

// supersede removes the record of the instance that a newer one makes useless.
func (q *queue) supersede(newer *Instance) {
	for n, m := range slices.Backward(q.messages) {
		if i := m.Instance; i != nil && i.Name == newer.Name && i.Companion.Instance == newer.Companion.Instance {
			q.messages = slices.Delete(q.messages, n, n+1)
			q.endMoment(n, m)
			return
		}
	}
}

// withdraw removes a request for output that has not been sent yet.
func (q *queue) withdraw(id uint64) bool {
	n := slices.IndexFunc(q.messages, func(m Message) bool { return m.Logs != nil && m.Logs.ID == id && m.Logs.Name != "" })
	if n < 0 {
		return false
	}
	q.messages = slices.Delete(q.messages, n, n+1)
	return true
}

// endMoment lets the moment of a message that is not sent end with the one before.
func (q *queue) endMoment(before int, left Message) {
	if left.More {
		return
	}
	for n := before - 1; n >= 0; n-- {
		if q.messages[n].Lines == nil {
			q.messages[n].More = false
			return
		}
	}
}

// take empties the queue.
func (q *queue) take() []Message {
	all := q.messages
	q.messages, q.events = nil, 0
	return all
}
