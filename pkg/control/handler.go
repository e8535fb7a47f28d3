package control

import (
	"context"
	"encoding/json"
	"errors"
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
}

// answerer makes one answer: it has written it, or returns why it has not.
type answerer func(w http.ResponseWriter, r *http.Request, body []byte) error

// newHandler puts the routes behind what holds for all of them.
func newHandler(b Backend, admit func(*http.Request) *Error, metrics http.Handler,
	logger *slog.Logger, full func() bool, ending <-chan struct{},
) http.Handler {
	h := &handler{backend: b, logger: logger, ending: ending}
	mux := h.routes(metrics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer h.recoverPanic(w, r)
		// Each writer sets it again: Server.WriteTimeout would count the wait too.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
		if full() {
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
	})
}

type bodyKey struct{}

// endpoint is one path of the API.
type endpoint struct {
	pattern, method string
	answer          answerer
}

// endpoints is the whole API.
func (h *handler) endpoints(metrics http.Handler) []endpoint {
	const get, post = http.MethodGet, http.MethodPost
	all := []endpoint{
		{"/v1/status", get, h.status},
		{"/v1/companions", get, h.companions},
		{"/v1/companions/{target}", get, h.companion},
		{"/v1/companions/{target}/" + OpStart, post, h.act(OpStart)},
		{"/v1/companions/{target}/" + OpStop, post, h.act(OpStop)},
		{"/v1/companions/{target}/" + OpRestart, post, h.act(OpRestart)},
		{"/v1/companions/{target}/" + OpSignal, post, h.act(OpSignal)},
		{"/v1/companions/{target}/logs", get, h.logs},
		{"/v1/reload", post, h.reload},
		{"/v1/reread", post, h.reread},
		{"/v1/scale", post, h.scale},
		{"/v1/stop", post, h.stop},
		{"/v1/reopen", post, h.reopen},
		{"/v1/upgrade", post, h.upgrade},
		{"/v1/events", get, h.events},
		{"/v1/config", get, h.config},
		{"/livez", get, h.livez},
		{"/readyz", get, h.readyz},
	}
	if metrics != nil {
		all = append(all, endpoint{"/metrics", get, func(w http.ResponseWriter, r *http.Request, _ []byte) error {
			metrics.ServeHTTP(w, r)
			return nil
		}})
	}
	return all
}

func (h *handler) routes(metrics http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	for _, e := range h.endpoints(metrics) {
		mux.Handle(e.pattern, h.route(e.method, e.answer))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { h.fail(w, r, notFound(r)) })
	return mux
}

// route lets one method through; HEAD is a GET whose body net/http drops.
func (h *handler) route(method string, a answerer) http.Handler {
	allow := []string{method}
	if method == http.MethodGet {
		allow = append(allow, http.MethodHead)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(allow, r.Method) {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			h.fail(w, r, Errorf(http.StatusMethodNotAllowed, CodeMethodNotAllowed,
				"cannot %s %s: only %s", r.Method, r.URL.Path, strings.Join(allow, ", ")))
			return
		}
		body, _ := r.Context().Value(bodyKey{}).([]byte)
		if err := a(w, r, body); err != nil {
			h.fail(w, r, err)
		}
	})
}

func notFound(r *http.Request) *Error {
	return Errorf(http.StatusNotFound, CodeNotFound, "cannot find %q: no such path in this API", r.URL.Path)
}

// readBody reads what the peer sent, before anything is decided about it.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, Errorf(http.StatusRequestEntityTooLarge, CodeTooLarge, "cannot read the body: larger than %d bytes", tooLarge.Limit)
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
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
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
