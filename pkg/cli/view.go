package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/gofork/gofork/pkg/control"
)

// view is a status as people read it.
type view struct {
	status         *control.Status
	companionsOnly bool
}

func (v view) write(w io.Writer, p paint) {
	s := v.status
	if !v.companionsOnly {
		writeHead(w, p, s)
		writeWorkers(w, p, s.Workers)
		writeManager(w, p, s.Manager)
		if len(s.Companions) > 0 {
			_, _ = fmt.Fprintln(w)
		}
	}
	writeCompanions(w, p, s.Companions)
}

func writeHead(w io.Writer, p paint, s *control.Status) {
	_, _ = fmt.Fprintf(w, "%s  %s  pid %d, generation %d, uptime %s, stop budget %s\n", p(bold, s.Name),
		p(stateColor(s.State), s.State), s.PID, s.Generation, clock(s.UptimeSeconds), seconds(s.StopBudgetSeconds))
	if len(s.Listeners) > 0 {
		_, _ = fmt.Fprintf(w, "listening at %s\n", strings.Join(s.Listeners, ", "))
	}
	if last := s.LastReload; last != nil && !last.OK {
		_, _ = fmt.Fprintf(w, "%s at %s: %s\n", p(red, "last reload failed"), last.At.Format(time.RFC3339), last.Error)
	}
}

func writeWorkers(w io.Writer, p paint, workers control.Workers) {
	if workers.Configured == 0 && len(workers.List) == 0 {
		return
	}
	_, _ = fmt.Fprintf(w, "\nworkers %d of %d ready\n", workers.Ready, workers.Configured)
	if len(workers.List) == 0 {
		return
	}
	rows := [][]cell{{{text: "SLOT"}, {text: "PID"}, {text: "STATE"}, {text: "GENERATION"}, {text: "UPTIME"}, {text: "RESTARTS"}, {text: "RSS"}, {}}}
	for _, worker := range workers.List {
		pid, uptime, rss := "-", "-", "-"
		if worker.PID != 0 {
			pid, uptime = strconv.Itoa(worker.PID), clock(worker.UptimeSeconds)
		}
		if worker.RSSBytes > 0 {
			rss = humanize.IBytes(uint64(worker.RSSBytes))
		}
		rows = append(rows, []cell{
			{text: strconv.Itoa(worker.Slot)},
			{text: pid},
			{worker.State, stateColor(worker.State)},
			{text: strconv.Itoa(worker.Generation)},
			{text: uptime},
			{text: strconv.Itoa(worker.Restarts)},
			{text: rss},
			{text: remark(worker)},
		})
	}
	table(w, p, rows)
}

// remark is what the columns do not say: why a slot waits, what the worker says of itself.
func remark(w control.Worker) string {
	if w.State != control.WorkerBackoff || w.LastExit == nil {
		return w.Status
	}
	return why(w.LastExit, w.NextRetryAt)
}

func why(exit *control.Exit, retry *time.Time) string {
	text := exit.Sentence()
	if retry != nil {
		text += ", retrying in " + control.Seconds(time.Until(*retry))
	}
	return text
}

func writeManager(w io.Writer, p paint, m *control.Manager) {
	if m == nil {
		return
	}
	_, _ = fmt.Fprintf(w, "\nmanager %s", p(stateColor(m.State), m.State))
	if m.PID != 0 {
		_, _ = fmt.Fprintf(w, "  pid %d", m.PID)
	} else if m.LastExit != nil {
		_, _ = fmt.Fprintf(w, "  %s", why(m.LastExit, m.NextRetryAt))
	}
	_, _ = fmt.Fprintf(w, ", restarts %d, stop timeout %s\n", m.Restarts, seconds(m.StopTimeoutSeconds))
}

// writeCompanions writes one line for each, as supervisorctl does.
func writeCompanions(w io.Writer, p paint, all []control.Companion) {
	const nameWidth, stateWidth = 16, 9
	width := nameWidth
	for i := range all {
		width = max(width, utf8.RuneCountInString(all[i].ID()))
	}
	for i := range all {
		c := &all[i]
		state := p(stateColor(c.State), c.State) + strings.Repeat(" ", max(stateWidth-len(c.State), 0))
		line := fmt.Sprintf("%-*s %s %s", width, c.ID(), state, c.Description)
		_, _ = fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// stateColor is green for what is up, red for what has failed, yellow between.
func stateColor(state string) string {
	switch state {
	case control.Running, control.WorkerReady, control.StateRunning: // the manager's running too
		return green
	case control.Fatal, control.Backoff, control.WorkerBackoff, control.WorkerKilling:
		return red
	case control.Stopped, control.Exited, control.ManagerStopped:
		return ""
	}
	return yellow
}

func clock(seconds float64) string {
	return control.Clock(time.Duration(seconds * float64(time.Second)))
}

func seconds(s float64) string {
	return strconv.FormatFloat(s, 'f', -1, 64) + "s"
}
