package control

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// handler is the API over one Backend.
type handler struct {
	backend Backend
	logger  *slog.Logger
	ending  <-chan struct{} // closed when streams must end
	streams chan struct{}   // a token for each that is open
}

// answerer makes one answer: it has written it, or returns why it has not.
type answerer func(w http.ResponseWriter, c *call) error

// newHandler puts the routes behind what holds for all of them.
func newHandler(b Backend, admit func(*http.Request) *Error, metrics http.Handler,
	logger *slog.Logger, door *gate,
) http.Handler {
	conns := cap(door.slots)
	h := &handler{backend: b, logger: logger, ending: door.ended, streams: make(chan struct{}, max(conns*3/4, 1))}
	mux := h.routes(metrics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer h.recoverPanic(w, r)
		// Each writer sets it again: Server.WriteTimeout would count the wait too.
		takeWithin(w)
		w.Header().Set("X-Content-Type-Options", "nosniff") // what companions print is no page
		if door.full() {
			w.Header().Set("Connection", "close") // somebody may be waiting for the slot
		}
		if err := admit(r); err != nil {
			w.Header().Set("Connection", "close")
			if err.Status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			h.fail(w, r, err)
			return
		}
		// ServeMux would answer these with a redirect, which no client here follows.
		if r.URL.Path != path.Clean(r.URL.Path) {
			h.fail(w, r, notFound(r))
			return
		}
		body, err := readBody(w, r)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), bodyKey{}, body)))
		// The end of a stream is a piece too, and net/http writes it after this: the
		// deadline of the last one may be long over, and an end that cannot be written
		// looks to the peer as if the stream had broken off.
		takeWithin(w)
	})
}

// takeWithin gives the peer writeTimeout, from now on, to take what is written next.
// An error is that of a broken connection, which the next write meets as well.
func takeWithin(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
}

type bodyKey struct{}

// endpoint is one path of the API.
type endpoint struct {
	pattern, method string
	answer          answerer
	params          []string // that its query may have
	hasBody         bool     // else it must be empty, or {}
	probe           bool     // any query is ignored: probes add what they want
}

// endpoints is the whole API.
func (h *handler) endpoints(metrics http.Handler) []endpoint {
	const get, post = http.MethodGet, http.MethodPost
	wait, signal := []string{"wait", "timeout"}, []string{"wait", "timeout", "signal"}
	reload := []string{"dry_run", "timeout"}
	const one = "/v1/companions/{target}"
	all := []endpoint{
		{pattern: "/v1/status", method: get, answer: h.status},
		{pattern: "/v1/companions", method: get, answer: h.companions},
		{pattern: one, method: get, answer: h.companion},
		{pattern: one + "/" + OpStart, method: post, answer: h.act(OpStart), params: wait},
		{pattern: one + "/" + OpStop, method: post, answer: h.act(OpStop), params: wait},
		{pattern: one + "/" + OpRestart, method: post, answer: h.act(OpRestart), params: wait},
		{pattern: one + "/" + OpSignal, method: post, answer: h.act(OpSignal), params: signal},
		{pattern: one + "/logs", method: get, answer: h.logs, params: []string{"lines", "follow"}},
		{pattern: "/v1/reload", method: post, answer: h.reload(false), params: reload},
		{pattern: "/v1/reread", method: post, answer: h.reload(true), params: reload},
		{pattern: "/v1/scale", method: post, answer: h.scale, hasBody: true},
		{pattern: "/v1/stop", method: post, answer: h.stop, hasBody: true},
		{pattern: "/v1/reopen", method: post, answer: h.reopen},
		{pattern: "/v1/upgrade", method: post, answer: h.upgrade, params: []string{"timeout"}},
		{pattern: "/v1/events", method: get, answer: h.events},
		{pattern: "/v1/config", method: get, answer: h.config},
		{pattern: "/livez", method: get, answer: h.livez, probe: true},
		{pattern: "/readyz", method: get, answer: h.readyz, probe: true},
	}
	if metrics != nil {
		all = append(all, endpoint{pattern: "/metrics", method: get, probe: true, answer: func(w http.ResponseWriter, c *call) error {
			metrics.ServeHTTP(w, c.Request)
			return nil
		}})
	}
	return all
}

func (h *handler) routes(metrics http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	for _, e := range h.endpoints(metrics) {
		mux.Handle(e.pattern, h.route(e))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { h.fail(w, r, notFound(r)) })
	return mux
}

// route lets one method through, HEAD as a GET whose body net/http drops, and what
// the endpoint knows of parameters and bodies.
func (h *handler) route(e endpoint) http.Handler {
	allow := []string{e.method}
	if e.method == http.MethodGet {
		allow = append(allow, http.MethodHead)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(allow, r.Method) {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			h.fail(w, r, Errorf(http.StatusMethodNotAllowed, CodeMethodNotAllowed,
				"cannot %s %s: only %s", r.Method, r.URL.Path, strings.Join(allow, ", ")))
			return
		}
		c, err := callOf(r, e)
		if err == nil {
			err = e.answer(w, c)
		}
		if err != nil {
			h.fail(w, r, err)
		}
	})
}

func notFound(r *http.Request) *Error {
	return Errorf(http.StatusNotFound, CodeNotFound, "cannot find %q: no such path in this API", r.URL.Path)
}

// readBody reads what the peer sent, before anything is decided about it.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case len(body) > maxBody:
		// Most peers read no answer before they have written all.
		_, _ = io.CopyN(io.Discard, r.Body, maxUnread)
		w.Header().Set("Connection", "close")
		return nil, Errorf(http.StatusRequestEntityTooLarge, CodeTooLarge, "cannot read the body: larger than %d bytes", maxBody)
	case err != nil:
		return nil, Errorf(http.StatusBadRequest, CodeBadRequest, "cannot read the body: %v", err)
	}
	return body, nil
}

// respond writes v as JSON, or an error when v cannot be encoded.
func (h *handler) respond(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	takeWithin(w)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err = w.Write(append(b, '\n'))
	if err != nil {
		h.logger.Debug("control answer not taken", "error", err)
	}
	return nil
}

// errorBody is the body of an answer that is not 2xx. A reload that failed has
// its result beside the error, under the names that it has when it succeeds.
type errorBody struct {
	Error      *Error            `json:"error"`
	At         *time.Time        `json:"at,omitempty"`
	OK         *bool             `json:"ok,omitempty"`
	Seconds    float64           `json:"seconds,omitempty"`
	Companions *CompanionsChange `json:"companions,omitempty"`
}

// fail writes err as the answer.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := errorOf(err)
	if e.Status >= 500 && e.Code == CodeInternal {
		h.logger.Error("control request failed", "method", r.Method, "path", r.URL.Path, "error", e.Message)
	}
	_ = h.respond(w, e.Status, errorBody{Error: e}) // always encodable
}

// recoverPanic keeps a fault of one answer from taking the arbiter, and with it
// every worker, along.
func (h *handler) recoverPanic(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
		panic(p)
	}
	h.logger.Error("control request panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	if w.Header().Get("Content-Type") != "" {
		panic(http.ErrAbortHandler) // half an answer is out: cut it, so that it is not taken for a whole one
	}
	e := Errorf(http.StatusInternalServerError, CodeInternal, "cannot answer: gofork has a fault, its log says more")
	_ = h.respond(w, e.Status, errorBody{Error: e}) // always encodable
}
