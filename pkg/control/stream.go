package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// pieceSize is about how many bytes of a stream are written at a time.
const pieceSize = 32 << 10

// maxLogLines bounds ?lines=; what is really kept is up to the Backend.
const maxLogLines = 100_000

// events streams what happens as server-sent events (WHATWG HTML, 9.2): first
// one "snapshot", then each event under its own name, its sequence as the id.
//
// The stream ends when the peer goes away, when the server ends, and when the
// peer reads too slowly: it is dropped, nobody waits for it.
func (h *handler) events(w http.ResponseWriter, c *call) error {
	if c.Method == http.MethodHead {
		streamHeader(w, "text/event-stream")
		return nil
	}
	ctx, end, err := h.stream(c.Context())
	if err != nil {
		return err
	}
	defer end()
	snapshot, events, err := h.backend.Events(ctx)
	if err != nil {
		return err
	}
	first, err := json.Marshal(snapshot)
	if err != nil {
		return err
	}
	streamHeader(w, "text/event-stream")
	if send(w, message("", "snapshot", first)) != nil {
		return nil
	}
	var piece []byte
	for {
		e, ok := nextEvent(ctx, events)
		if !ok {
			return nil
		}
		piece = h.appendEvent(piece[:0], e)
		// Of a thousand companions that stop, thousands come at once: what is there
		// goes out together.
		for more := true; more && len(piece) < pieceSize; {
			select {
			case e, more = <-events:
				if more {
					piece = h.appendEvent(piece, e)
				}
			default:
				more = false
			}
		}
		if send(w, piece) != nil {
			return nil // it went away, or was too slow
		}
	}
}

func (h *handler) appendEvent(b []byte, e Event) []byte {
	data, err := json.Marshal(e)
	if err != nil {
		h.logger.Error("control event dropped", "error", err)
		return b
	}
	return append(b, message(fmt.Sprint(e.Seq), e.Event, data)...)
}

// nextEvent waits for an event until ctx has ended; what is in the channel by then
// has happened before, and is still told.
func nextEvent(ctx context.Context, events <-chan Event) (Event, bool) {
	select {
	case e, ok := <-events:
		return e, ok
	case <-ctx.Done():
	}
	select {
	case e, ok := <-events:
		return e, ok
	default:
		return Event{}, false
	}
}

// logs streams what a companion printed as plain text.
func (h *handler) logs(w http.ResponseWriter, c *call) error {
	lines, err := c.number("lines", 100, maxLogLines)
	if err != nil {
		return err
	}
	follow, err := c.boolean("follow", false)
	if err != nil {
		return err
	}
	name, instance, err := c.target()
	if err != nil {
		return err
	}
	ctx := c.Context()
	if follow = follow && c.Method != http.MethodHead; follow {
		var end func()
		if ctx, end, err = h.stream(ctx); err != nil {
			return err
		}
		defer end()
	}
	text, err := h.backend.Logs(ctx, Target(name, instance), lines, follow)
	if err != nil {
		return err
	}
	defer func() { _ = text.Close() }() // read-only: nothing is lost
	streamHeader(w, "text/plain; charset=utf-8")
	if send(w, nil) != nil {
		return nil
	}
	buf := make([]byte, pieceSize)
	for {
		n, err := text.Read(buf)
		if n > 0 && send(w, buf[:n]) != nil {
			return nil
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				h.logger.Warn("control log stream broke off", "target", Target(name, instance), "error", err)
				panic(http.ErrAbortHandler) // the peer must not take a part for the whole
			}
			return nil
		}
	}
}

// stream begins what has no end of its own: its context ends with the request and as
// soon as the server is ending. There may be so many that there is always room for a
// request beside them.
func (h *handler) stream(request context.Context) (ctx context.Context, end func(), err error) {
	select {
	case h.streams <- struct{}{}:
	default:
		return nil, nil, Unavailablef("cannot follow: %d others do already", cap(h.streams))
	}
	ctx, cancel := context.WithCancel(request)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-h.ending:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-done
		<-h.streams
	}, nil
}

func streamHeader(w http.ResponseWriter, contentType string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Connection", "close") // a stream is the last thing on its connection
	w.WriteHeader(http.StatusOK)
}

// send hands one piece to the peer, which has writeTimeout to take it.
func send(w http.ResponseWriter, piece []byte) error {
	takeWithin(w)
	if _, err := w.Write(piece); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// message is one server-sent event. JSON has no line breaks, so that one data
// line is enough.
func message(id, name string, data []byte) []byte {
	var b bytes.Buffer
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", name, data)
	return b.Bytes()
}
