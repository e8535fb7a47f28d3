package metrics_test

import (
	"bytes"
	"fmt"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/metrics"
)

// Counters hear of every event; at a scrape they are written together with what is
// there at that moment.
func ExampleCounters() {
	c := metrics.NewCounters()
	c.Observe(control.Event{Event: "worker.started", Attrs: map[string]any{"slot": 1, "attempt": 1}})
	c.Observe(control.Event{Event: "worker.exited", Attrs: map[string]any{"slot": 1, "attempt": 1, "reason": "killed by SIGKILL"}})
	c.Observe(control.Event{Event: "worker.started", Attrs: map[string]any{"slot": 1, "attempt": 2}})
	c.Observe(control.Event{Event: "reload.done", Attrs: map[string]any{"took": 0.4}})

	text := c.Text(&metrics.Picture{Status: &control.Status{State: control.StateRunning, Workers: control.Workers{Configured: 2, Ready: 1}}})
	for line := range bytes.Lines(text) {
		for _, name := range []string{"gofork_workers_ready ", `gofork_worker_restarts_total{reason="signal"}`, "gofork_reloads_total"} {
			if bytes.HasPrefix(line, []byte(name)) {
				fmt.Printf("%s", line)
			}
		}
	}
	// Output:
	// gofork_reloads_total{result="ok"} 1
	// gofork_reloads_total{result="failed"} 0
	// gofork_workers_ready 1
	// gofork_worker_restarts_total{reason="signal"} 1
}
