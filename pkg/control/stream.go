package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxLogLines bounds ?lines=; what is really kept is up to the Backend.
const maxLogLines = 100_000

// events streams what happens as server-sent events (WHATWG HTML, 9.2): first
// one "snapshot", then each event under its own name, its sequence as the id.
//
// The stream ends when the peer goes away, when the server ends, and when the
// peer reads too slowly: it is dropped, nobody waits for it.
func (h *handler) events(w http.ResponseWriter, r *http.Request, _ []byte) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		streamHeader(w, "text/event-stream")
		return nil
	}
	ctx, cancel := h.streamContext(r)
	defer cancel()
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
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			if !ok {
				return nil
			}
			data, err := json.Marshal(e)
			if err != nil {
				h.logger.Error("control event dropped", "error", err)
				continue
			}
			if send(w, message(fmt.Sprint(e.Seq), e.Event, data)) != nil {
				return nil // it went away, or was too slow
			}
		}
	}
}

// logs streams what a companion printed as plain text.
func (h *handler) logs(w http.ResponseWriter, r *http.Request, _ []byte) error {
	q, err := queryOf(r, "lines", "follow")
	if err != nil {
		return err
	}
	lines, err := intParam(q, "lines", 100, maxLogLines)
	if err != nil {
		return err
	}
	follow, err := boolParam(q, "follow", false)
	if err != nil {
		return err
	}
	name, instance, err := targetOf(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		follow = false
	}
	ctx, cancel := h.streamContext(r)
	defer cancel()
	text, err := h.backend.Logs(ctx, Target(name, instance), lines, follow)
	if err != nil {
		return err
	}
	defer func() { _ = text.Close() }() // read-only: nothing is lost
	streamHeader(w, "text/plain; charset=utf-8")
	if send(w, nil) != nil {
		return nil
	}
	buf := make([]byte, 32<<10)
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

// streamContext ends with the request and as soon as the server is ending: a
// stream has no end of its own that one could wait for.
func (h *handler) streamContext(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-h.ending:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(); <-done }
}

func streamHeader(w http.ResponseWriter, contentType string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Connection", "close") // a stream is the last thing on its connection
	w.WriteHeader(http.StatusOK)
}

// send hands one piece to the peer, which has writeTimeout to take it.
func send(w http.ResponseWriter, piece []byte) error {
	rc := http.NewResponseController(w)
	if err := rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := w.Write(piece); err != nil {
		return err
	}
	return rc.Flush()
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
