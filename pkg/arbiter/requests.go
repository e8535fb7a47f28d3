package arbiter

import (
	"log/slog"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/metrics"
	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/tally"
)

// envTally names the descriptor of the page in which a handler worker counts its
// requests.
const envTally = "GOFORK_TALLY_FD"

// ledger is what is kept of workers beyond their deaths. It belongs to the loop.
type ledger struct {
	pages   map[id]*tally.Page // of living workers
	settled tally.Counts       // of the dead
	lost    uint64             // requests that were in flight when their worker died
	cpu     map[int]time.Duration
	refused bool // pages cannot be made here, which was said
}

func newLedger() ledger {
	return ledger{pages: map[id]*tally.Page{}, cpu: map[int]time.Duration{}}
}

// openTally makes the page of a handler worker that is about to start, and says
// what the worker is to be told: its descriptor, which the caller closes, will be
// number at in the worker. Without an admin address nobody would look, so nothing
// is counted then; where it cannot be made the worker runs without one.
func (l *loop) openTally(a startWorker, at int) (fd int, told []string) {
	if a.generation.config.Admin.Bind == "" {
		return -1, nil
	}
	page, fd, err := tally.New()
	if err != nil {
		if !l.ledger.refused {
			l.ledger.refused = true
			l.Logger.LogAttrs(background, slog.LevelWarn, "requests are not counted", slog.String("error", err.Error()))
		}
		return -1, nil
	}
	l.ledger.pages[a.id] = page
	return fd, []string{envTally + "=" + strconv.Itoa(at)}
}

func closeTally(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd) // the mapping and the worker hold the memory
	}
}

// settle keeps what a dead worker has counted and used.
func (l *loop) settle(a id, x proc.Exit) {
	l.ledger.cpu[a.slot] += x.CPU
	page := l.ledger.pages[a]
	if page == nil {
		return
	}
	delete(l.ledger.pages, a)
	counts := page.Read()
	l.ledger.lost += counts.InFlight()
	l.ledger.settled.Add(counts)
	if err := page.Close(); err != nil {
		l.Logger.Warn("cannot unmap the request counters of a worker", "error", err.Error())
	}
}

// requests sums up over the living and the dead; nil when nobody counts.
func (g *ledger) requests() *metrics.Requests {
	sum := g.settled
	for _, page := range g.pages {
		sum.Add(page.Read())
	}
	if len(g.pages) == 0 && sum.Begun == 0 {
		return nil
	}
	inFlight := sum.InFlight()
	r := &metrics.Requests{
		Answered: map[string]uint64{metrics.NoAnswer: sum.Answered[0]},
		InFlight: inFlight - min(inFlight, g.lost), Lost: g.lost,
		Latency: metrics.Histogram{Buckets: sum.Buckets[:], Sum: sum.Time.Seconds()},
	}
	for class := 1; class < tally.Classes; class++ {
		r.Answered[strconv.Itoa(class)+"xx"] = sum.Answered[class]
	}
	for _, bound := range tally.Bounds {
		r.Latency.Bounds = append(r.Latency.Bounds, bound.Seconds())
	}
	return r
}
