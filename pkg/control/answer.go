package control

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// companionList is the answer to everything that is about companions.
type companionList struct {
	Companions []Companion `json:"companions"`
}

func (h *handler) status(w http.ResponseWriter, r *http.Request, _ []byte) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	s, err := h.backend.Status(r.Context())
	if err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, s)
}

func (h *handler) companions(w http.ResponseWriter, r *http.Request, _ []byte) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	s, err := h.backend.Status(r.Context())
	if err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, companionList{list(s.Companions)})
}

func (h *handler) companion(w http.ResponseWriter, r *http.Request, _ []byte) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	name, instance, err := targetOf(r)
	if err != nil {
		return err
	}
	s, err := h.backend.Status(r.Context())
	if err != nil {
		return err
	}
	found := Select(s.Companions, name, instance)
	if len(found) == 0 {
		return UnknownCompanion(Target(name, instance))
	}
	return h.respond(w, http.StatusOK, companionList{found})
}

// Select returns the instances that a target means, in their order.
func Select(all []Companion, name string, instance int) []Companion {
	var found []Companion
	for _, c := range all {
		if c.Name == name && (instance == 0 || c.Instance == instance) {
			found = append(found, c)
		}
	}
	return found
}

func (h *handler) act(op string) answerer {
	allowed := []string{"wait", "timeout"}
	if op == OpSignal {
		allowed = append(allowed, "signal")
	}
	return func(w http.ResponseWriter, r *http.Request, body []byte) error {
		q, err := queryOf(r, allowed...)
		if err != nil {
			return err
		}
		a := Action{Op: op, Signal: q.Get("signal")}
		if a.Wait, err = boolParam(q, "wait", true); err != nil {
			return err
		}
		if a.Name, a.Instance, err = targetOf(r); err != nil {
			return err
		}
		if op == OpSignal && a.Signal == "" {
			return badRequest("cannot signal %s: the parameter signal is missing, such as ?signal=HUP", a.Target())
		}
		if err := decode(body, &struct{}{}); err != nil {
			return err
		}
		ctx, cancel, err := waitOf(r, q)
		if err != nil {
			return err
		}
		defer cancel()
		done, err := h.backend.Act(ctx, a)
		if err != nil {
			return err
		}
		return h.respond(w, http.StatusOK, companionList{list(done)})
	}
}

func (h *handler) reload(w http.ResponseWriter, r *http.Request, body []byte) error {
	return h.reloading(w, r, body, false)
}

func (h *handler) reread(w http.ResponseWriter, r *http.Request, body []byte) error {
	return h.reloading(w, r, body, true)
}

func (h *handler) reloading(w http.ResponseWriter, r *http.Request, body []byte, companionsOnly bool) error {
	q, err := queryOf(r, "dry_run", "timeout")
	if err != nil {
		return err
	}
	asked := ReloadRequest{CompanionsOnly: companionsOnly}
	if asked.DryRun, err = boolParam(q, "dry_run", false); err != nil {
		return err
	}
	if err := decode(body, &struct{}{}); err != nil {
		return err
	}
	ctx, cancel, err := waitOf(r, q)
	if err != nil {
		return err
	}
	defer cancel()
	result, err := h.backend.Reload(ctx, asked)
	if err != nil {
		return err
	}
	if !result.OK {
		return h.respond(w, http.StatusConflict, errorBody{
			Error: Errorf(http.StatusConflict, CodeReloadFailed, "%s", result.Error),
			At:    &result.At, OK: &result.OK, Seconds: result.Seconds, Companions: &result.Companions,
		})
	}
	return h.respond(w, http.StatusOK, result)
}

func (h *handler) scale(w http.ResponseWriter, r *http.Request, body []byte) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	var s ScaleRequest
	if err := decode(body, &s); err != nil {
		return err
	}
	switch {
	case (s.Workers == nil) == (s.Delta == nil):
		return badRequest(`cannot scale: the body must have either workers or delta, such as {"workers": 4}`)
	case s.Workers != nil && *s.Workers < 1:
		return badRequest("cannot scale to %d workers: must be at least 1", *s.Workers)
	}
	workers, err := h.backend.Scale(r.Context(), s)
	if err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, workers)
}

func (h *handler) stop(w http.ResponseWriter, r *http.Request, body []byte) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	var s StopRequest
	if err := decode(body, &s); err != nil {
		return err
	}
	if err := h.backend.Stop(r.Context(), s); err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, struct{}{})
}

func (h *handler) reopen(w http.ResponseWriter, r *http.Request, body []byte) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	if err := decode(body, &struct{}{}); err != nil {
		return err
	}
	if err := h.backend.Reopen(r.Context()); err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, struct{}{})
}

func (h *handler) upgrade(w http.ResponseWriter, r *http.Request, body []byte) error {
	q, err := queryOf(r, "timeout")
	if err != nil {
		return err
	}
	if err := decode(body, &struct{}{}); err != nil {
		return err
	}
	ctx, cancel, err := waitOf(r, q)
	if err != nil {
		return err
	}
	defer cancel()
	result, err := h.backend.Upgrade(ctx)
	if err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, result)
}

func (h *handler) config(w http.ResponseWriter, r *http.Request, _ []byte) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	c, err := h.backend.Config(r.Context())
	if err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, c)
}

// probeTimeout is how long an arbiter that is alive may need to say so.
const probeTimeout = 5 * time.Second

// livez is 200 while the arbiter's loop answers.
func (h *handler) livez(w http.ResponseWriter, r *http.Request, _ []byte) error {
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	if _, err := h.backend.Status(ctx); err != nil {
		plain(w, http.StatusServiceUnavailable, err.Error())
		return nil
	}
	plain(w, http.StatusOK, "ok")
	return nil
}

func plain(w http.ResponseWriter, status int, text string) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // a probe that went away needs no answer
}
