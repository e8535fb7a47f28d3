// Package metrics is what monitoring sees of a gofork: the text format of
// Prometheus, version 0.0.4, made of three things.
//
//	lifecycle events  ─ Observe ─▶ counters and histograms, kept here
//	a Picture         ─────────────▶ what is now: states, ages, queues
//	/proc             ─────────────▶ memory and CPU time, read at a scrape only
//
// Nothing is sampled between two scrapes, so an idle gofork that nobody scrapes
// does nothing.
//
// The format is written here and not by the client library: its packages cost each
// process of this binary (the same one is arbiter, manager and worker) 0.7 ms at
// start, 0.6 MiB of memory and 2 MB on disk, for a few loops over numbers. The
// library is the judge in the tests instead: its parser reads all that is written
// and its linter checks the names.
//
// Invariants:
//   - A series of a fixed set (reasons, states, results) is there from the first
//     scrape on, with 0: a rate over it misses no first event.
//   - Labels come from the configuration and from fixed sets, never from a request,
//     a pid or an error message: the number of series is bounded.
//   - A counter never falls while gofork runs, but for those that are said to be of
//     one process.
package metrics
