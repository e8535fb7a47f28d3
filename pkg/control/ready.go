package control

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// readyz is 200 while requests should be sent here. The body says what is missing,
// one thing a line, also when that is not enough to send them elsewhere: a pod with
// half of its workers still serves, and to take it out of its service would only
// load the others more.
func (h *handler) readyz(w http.ResponseWriter, c *call) error {
	ctx, cancel := context.WithTimeout(c.Context(), probeTimeout)
	defer cancel()
	s, err := h.backend.Status(ctx)
	if err != nil {
		plain(w, http.StatusServiceUnavailable, err.Error())
		return nil
	}
	missing, degraded := readiness(s)
	switch {
	case len(missing) > 0:
		plain(w, http.StatusServiceUnavailable, strings.Join(missing, "\n"))
	case len(degraded) > 0:
		plain(w, http.StatusOK, "degraded: "+strings.Join(degraded, "\n"))
	default:
		plain(w, http.StatusOK, "ok")
	}
	return nil
}

// readiness says what keeps s from being ready, and what is only less than wanted.
//
// Not ready is who starts (the first generation is not complete) or stops, which
// begins with shutdown_delay; who has a web tier and no ready worker; and whose
// essential companions do not all run.
func readiness(s *Status) (missing, degraded []string) {
	switch s.State {
	case StateRunning, StateReloading, StateUpgrading:
	default:
		missing = append(missing, "gofork is "+s.State)
	}
	// Who listens has a web tier, even when its workers are scaled to none (WINCH).
	web := s.Workers.Configured > 0 || len(s.Listeners) > 0
	switch {
	case web && s.Workers.Ready < 1:
		missing = append(missing, fmt.Sprintf("no worker is ready, %d wanted", s.Workers.Configured))
	case s.Workers.Ready < s.Workers.Configured:
		degraded = append(degraded, fmt.Sprintf("%d of %d workers are ready", s.Workers.Ready, s.Workers.Configured))
	}
	for i := range s.Companions {
		if c := &s.Companions[i]; c.Essential && c.State != Running {
			missing = append(missing, fmt.Sprintf("essential companion %s is %s", c.ID(), c.State))
		}
	}
	return missing, degraded
}
