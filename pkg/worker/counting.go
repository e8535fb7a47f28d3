package worker

import (
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/gofork/gofork/pkg/handoff"
	"github.com/gofork/gofork/pkg/tally"
)

// envTally names the descriptor of the page in which the arbiter wants requests
// counted; unset when it does not.
const envTally = "GOFORK_TALLY_FD"

// inheritedTally opens the arbiter's page, and hides it from what the application
// starts. A worker serves as well without one.
func inheritedTally(log *slog.Logger) *tally.Page {
	text := os.Getenv(envTally)
	_ = os.Unsetenv(envTally)
	if text == "" {
		return nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < handoff.FirstFD {
		log.Warn("requests are not counted", "error", "no descriptor: "+text)
		return nil
	}
	page, err := tally.Open(fd)
	if err != nil {
		log.Warn("requests are not counted", "error", err.Error())
		return nil
	}
	// Never closed: a handler that outlives its request's timeout may still be
	// counted when everything else has ended.
	return page
}

// counted is deferred: a request ends in a panic as well.
func (s *site) counted(rec *recorder, began time.Time) {
	s.tally.End(rec.answered(), time.Since(began))
}

// answered is the status of the answer, 0 when the connection breaks instead.
func (w *recorder) answered() int {
	switch {
	case w.aborted:
		return 0
	case w.status != 0:
		return w.status
	case w.hijacked:
		return 101
	default:
		return 200 // net/http answers for a handler that does not
	}
}
