package arbiter

import (
	"sync"

	"github.com/gofork/gofork/pkg/control"
)

// eventBuffer is how many events a reader may be behind before it is dropped: the
// restart of a thousand companions is five thousand at once. It is 0.8 MB while
// somebody follows.
const eventBuffer = 8192

// hub passes every event on to whoever follows. A slow reader is dropped, never
// waited for. It is safe for concurrent use.
type hub struct {
	mu      sync.Mutex
	seq     uint64
	readers map[chan control.Event]bool
	tap     func(control.Event) // sees every event before any reader; nil = nobody does
}

func newHub() *hub { return &hub{readers: map[chan control.Event]bool{}} }

// publish passes an event on. For its followers, if there are any, attrs returns
// the attributes that it was not given yet; nil = it has them.
func (h *hub) publish(e control.Event, attrs func() map[string]any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	e.Seq = h.seq
	if h.tap != nil {
		h.tap(e)
	}
	if len(h.readers) > 0 && e.Attrs == nil && attrs != nil {
		e.Attrs = attrs()
	}
	for r := range h.readers {
		select {
		case r <- e:
		default:
			delete(h.readers, r)
			close(r)
		}
	}
}

// followed is a picture and every event after it.
type followed struct {
	status *control.Status
	events chan control.Event
}

// follow yields every event from now on; the channel is closed by leave, or when
// its reader is too slow.
func (h *hub) follow() chan control.Event {
	r := make(chan control.Event, eventBuffer)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers[r] = true
	return r
}

func (h *hub) leave(r chan control.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readers[r] {
		delete(h.readers, r)
		close(r)
	}
}
