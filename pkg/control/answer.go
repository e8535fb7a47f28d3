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

func (h *handler) status(w http.ResponseWriter, c *call) error {
	s, err := h.backend.Status(c.Context())
	if err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, s)
}

func (h *handler) companions(w http.ResponseWriter, c *call) error {
	s, err := h.backend.Status(c.Context())
	if err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, companionList{list(s.Companions)})
}

func (h *handler) companion(w http.ResponseWriter, c *call) error {
	name, instance, err := c.target()
	if err != nil {
		return err
	}
	s, err := h.backend.Status(c.Context())
	if err != nil {
		return err
	}
	found := Select(s.Companions, name, instance)
	if len(found) == 0 {
		return UnknownCompanion(Target(name, instance))
	}
	return h.respond(w, http.StatusOK, companionList{found})
}

func (h *handler) act(op string) answerer {
	return func(w http.ResponseWriter, c *call) (err error) {
		a := Action{Op: op, Signal: c.query.Get("signal")}
		if a.Wait, err = c.boolean("wait", true); err != nil {
			return err
		}
		if a.Name, a.Instance, err = c.target(); err != nil {
			return err
		}
		if op == OpSignal && a.Signal == "" {
			return badRequest("cannot signal %s: the parameter signal is missing, such as ?signal=HUP", a.Target())
		}
		ctx, cancel, err := c.waiting()
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

func (h *handler) reload(companionsOnly bool) answerer {
	return func(w http.ResponseWriter, c *call) (err error) {
		asked := ReloadRequest{CompanionsOnly: companionsOnly}
		if asked.DryRun, err = c.boolean("dry_run", false); err != nil {
			return err
		}
		ctx, cancel, err := c.waiting()
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
}

func (h *handler) scale(w http.ResponseWriter, c *call) error {
	var s ScaleRequest
	if err := decode(c.body, &s); err != nil {
		return err
	}
	switch {
	case (s.Workers == nil) == (s.Delta == nil):
		return badRequest(`cannot scale: the body must have either workers or delta, such as {"workers": 4}`)
	case s.Workers != nil && *s.Workers < 1:
		return badRequest("cannot scale to %d workers: must be at least 1", *s.Workers)
	}
	workers, err := h.backend.Scale(c.Context(), s)
	if err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, workers)
}

func (h *handler) stop(w http.ResponseWriter, c *call) error {
	var s StopRequest
	if err := decode(c.body, &s); err != nil {
		return err
	}
	if err := h.backend.Stop(c.Context(), s); err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, struct{}{})
}

func (h *handler) reopen(w http.ResponseWriter, c *call) error {
	if err := h.backend.Reopen(c.Context()); err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, struct{}{})
}

func (h *handler) upgrade(w http.ResponseWriter, c *call) error {
	ctx, cancel, err := c.waiting()
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

func (h *handler) config(w http.ResponseWriter, c *call) error {
	effective, err := h.backend.Config(c.Context())
	if err != nil {
		return err
	}
	return h.respond(w, http.StatusOK, effective)
}

// probeTimeout is how long an arbiter that is alive may need to say so.
const probeTimeout = 5 * time.Second

// livez is 200 while the arbiter's loop answers.
func (h *handler) livez(w http.ResponseWriter, c *call) error {
	ctx, cancel := context.WithTimeout(c.Context(), probeTimeout)
	defer cancel()
	if _, err := h.backend.Status(ctx); err != nil {
		plain(w, http.StatusServiceUnavailable, err.Error())
		return nil
	}
	plain(w, http.StatusOK, "ok")
	return nil
}

func plain(w http.ResponseWriter, status int, text string) {
	takeWithin(w)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // a probe that went away needs no answer
}
