package link

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// A message on the line is a frame: its length in 4 bytes, least significant
// first, a byte that says what it is, and the payload. Instances and events come
// by the thousand and have a form of their own, ten times cheaper than JSON to
// write and to read; all others are JSON. Both ends are of one binary, so that
// the form needs no version.
const (
	frameHead  = 5
	frameLimit = 1 << 30 // bytes; more than any apply of a machine's worth of companions

	kindJSON     = 'j'
	kindInstance = 'i'
	kindEvent    = 'e'
)

// appendFrame writes a message behind b.
func appendFrame(b []byte, m *Message) ([]byte, error) {
	from := len(b)
	b = append(b, 0, 0, 0, 0, 0)
	kind := byte(kindJSON)
	switch {
	case m.Instance != nil:
		kind = kindInstance
		w := wire{b: b}
		w.instance(m)
		b = w.b
	case m.Event != nil:
		kind = kindEvent
		w := wire{b: b}
		w.event(m)
		b = w.b
	default:
		text, err := json.Marshal(m)
		if err != nil {
			return b[:from], err
		}
		b = append(b, text...)
	}
	size := len(b) - from - frameHead
	if size > frameLimit {
		return b[:from], fmt.Errorf("cannot send %d bytes in one message: at most %d", size, frameLimit)
	}
	binary.LittleEndian.PutUint32(b[from:], uint32(size))
	b[from+4] = kind
	return b, nil
}

// readFrame reads a message. It keeps no part of the payload. words are the few
// texts that come again and again.
func readFrame(kind byte, payload []byte, words map[string]string) (m Message, err error) {
	w := wire{b: payload, reading: true, words: words}
	switch kind {
	case kindJSON:
		return m, json.Unmarshal(payload, &m)
	case kindInstance:
		m.Instance = &Instance{}
		w.instance(&m)
	case kindEvent:
		m.Event = &Event{}
		w.event(&m)
	default:
		return m, fmt.Errorf("cannot read a frame of kind %q: unknown", kind)
	}
	if w.short || len(w.b) > 0 {
		return m, fmt.Errorf("cannot read a frame of kind %q: wrong length", kind)
	}
	return m, nil
}

// wire goes over the fields of a message in their one order, to write them or to
// read them: what is written and what is read cannot differ.
type wire struct {
	b       []byte // written so far, or still to be read
	reading bool
	short   bool // there was less to be read than the fields need
	words   map[string]string
}

func (w *wire) event(m *Message) {
	e := m.Event
	w.bool(&m.More)
	w.time(&e.Time)
	w.word(&e.Level)
	w.word(&e.Event)
	w.word(&e.Message)
	w.bytes((*[]byte)(&e.Attrs))
	w.int(&e.Lost)
}

func (w *wire) instance(m *Message) {
	i := m.Instance
	w.bool(&m.More)
	w.string(&i.Name)
	w.int(&i.Instance)
	w.word(&i.State)
	w.word(&i.Desired)
	w.int(&i.PID)
	w.string(&i.Hash)
	optional(w, &i.StartedAt, w.moment)
	w.int(&i.Restarts)
	w.int(&i.Exits)
	w.int(&i.Failures)
	w.int(&i.StopKills)
	optional(w, &i.LastExit, w.exit)
	optional(w, &i.NextRetryAt, w.moment)
	w.int(&i.Group)
	w.int((*int)(&i.StopSignal))
	w.duration(&i.StopTimeout)
	w.bool(&i.StopGroup)
	piped := len(i.Piped)
	w.int(&piped)
	for n := range min(piped, 2) { // standard output and error
		var fd int
		if !w.reading {
			fd = i.Piped[n]
		}
		if w.int(&fd); w.reading {
			i.Piped = append(i.Piped, fd)
		}
	}
}

func (w *wire) exit(e *control.Exit) {
	w.time(&e.At)
	optional(w, &e.Code, w.int)
	optional(w, &e.Signal, w.word)
	w.bool(&e.Expected)
	w.string(&e.Reason)
}

// optional is a field that may be nil.
func optional[T any](w *wire, field **T, value func(*T)) {
	set := *field != nil
	if w.bool(&set); !set {
		return
	}
	if w.reading {
		*field = new(T)
	}
	value(*field)
}

func (w *wire) int(v *int) {
	if !w.reading {
		w.b = binary.AppendVarint(w.b, int64(*v))
		return
	}
	n, size := binary.Varint(w.b)
	if size <= 0 {
		w.end()
		return
	}
	*v, w.b = int(n), w.b[size:]
}

func (w *wire) bool(v *bool) {
	n := 0
	if *v {
		n = 1
	}
	w.int(&n)
	*v = n == 1
}

func (w *wire) duration(v *time.Duration) {
	n := int(*v)
	w.int(&n)
	*v = time.Duration(n)
}

// time is without the monotonic clock, as any time that leaves a process.
func (w *wire) time(v *time.Time) {
	n := int(v.UnixNano())
	if w.int(&n); w.reading {
		*v = time.Unix(0, int64(n))
	}
}

// clockWasSet is how far apart a time and the same moment on the clock of now are
// when somebody has set it, and not only the hands of two readings differ.
const clockWasSet = time.Second

// moment is a time of which the distance from now counts, and goes on counting
// when the clock is set afterwards: it arrives with a reading of the monotonic
// clock. If the clock was set before, what is sent is the moment as the clock
// counts now.
func (w *wire) moment(v *time.Time) {
	now := time.Now()
	at := *v
	if !w.reading {
		if counted := now.Add(at.Sub(now)); counted.Round(0).Sub(at.Round(0)).Abs() > clockWasSet {
			at = counted
		}
	}
	if w.time(&at); w.reading {
		*v = now.Add(at.Sub(now))
	}
}

// next is what is written as a length and that many bytes.
func (w *wire) next() []byte {
	var n int
	w.int(&n)
	if n < 0 || n > len(w.b) {
		w.end()
		return nil
	}
	part := w.b[:n]
	w.b = w.b[n:]
	return part
}

func (w *wire) string(v *string) {
	if !w.reading {
		w.b = append(binary.AppendVarint(w.b, int64(len(*v))), *v...)
		return
	}
	*v = string(w.next())
}

// word is a string out of few.
func (w *wire) word(v *string) {
	if !w.reading {
		w.string(v)
		return
	}
	part := w.next()
	known, ok := w.words[string(part)]
	if !ok {
		known = string(part)
		if len(w.words) < 256 { // a peer of another mind fills no memory
			w.words[known] = known
		}
	}
	*v = known
}

func (w *wire) bytes(v *[]byte) {
	if !w.reading {
		w.b = append(binary.AppendVarint(w.b, int64(len(*v))), *v...)
		return
	}
	if part := w.next(); len(part) > 0 {
		*v = append([]byte(nil), part...)
	}
}

func (w *wire) end() { w.short, w.b = true, nil }
