package control

import (
	"encoding/json"
	"fmt"
	"time"
)

// Event is one lifecycle event: the log record of it, for programs.
//
// As JSON it is flat, as a record in the log is: time, level, msg, event and role,
// then the event's own keys. Those five win over an attribute of the same name.
type Event struct {
	Seq     uint64 // rises by one with each event of one arbiter; the id of the server-sent event, not in the JSON
	Time    time.Time
	Event   string // stable, such as "worker.ready"
	Role    string // arbiter, manager, worker
	Level   string // DEBUG, INFO, WARN, ERROR, as in the log
	Message string
	Attrs   map[string]any // what encoding/json can write
}

// The keys that every event has.
const (
	keyTime    = "time"
	keyLevel   = "level"
	keyMessage = "msg"
	keyEvent   = "event"
	keyRole    = "role"
)

// MarshalJSON writes the event as a flat object, the common keys first.
func (e Event) MarshalJSON() ([]byte, error) {
	head, err := json.Marshal(struct {
		Time    time.Time `json:"time"`
		Level   string    `json:"level"`
		Message string    `json:"msg"`
		Event   string    `json:"event"`
		Role    string    `json:"role"`
	}{e.Time, e.Level, e.Message, e.Event, e.Role})
	if err != nil {
		return nil, fmt.Errorf("cannot encode event %s: %w", e.Event, err)
	}
	own := make(map[string]any, len(e.Attrs))
	for k, v := range e.Attrs {
		switch k {
		case keyTime, keyLevel, keyMessage, keyEvent, keyRole:
		default:
			own[k] = v
		}
	}
	if len(own) == 0 {
		return head, nil
	}
	tail, err := json.Marshal(own)
	if err != nil {
		return nil, fmt.Errorf("cannot encode event %s: %w", e.Event, err)
	}
	head[len(head)-1] = ','
	return append(head, tail[1:]...), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Event) UnmarshalJSON(b []byte) error {
	var common struct {
		Time    time.Time `json:"time"`
		Level   string    `json:"level"`
		Message string    `json:"msg"`
		Event   string    `json:"event"`
		Role    string    `json:"role"`
	}
	if err := json.Unmarshal(b, &common); err != nil {
		return fmt.Errorf("cannot decode event: %w", err)
	}
	var attrs map[string]any
	if err := json.Unmarshal(b, &attrs); err != nil {
		return fmt.Errorf("cannot decode event: %w", err)
	}
	for _, k := range []string{keyTime, keyLevel, keyMessage, keyEvent, keyRole} {
		delete(attrs, k)
	}
	if len(attrs) == 0 {
		attrs = nil
	}
	*e = Event{
		Seq: e.Seq, Time: common.Time, Event: common.Event, Role: common.Role,
		Level: common.Level, Message: common.Message, Attrs: attrs,
	}
	return nil
}
