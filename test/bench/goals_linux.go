package main

import "fmt"

// goal is what a figure of one subject is meant to be: at most (or at least) so
// much, or so many times its floor.
type goal struct {
	bench, name, subject string
	limit                float64
	ratio                bool // the limit is for the ratio to the floor
	atLeast              bool
	unit                 string
}

// goals are stated for two processors. The ratios hold anywhere; of the absolute
// ones those for memory and counts, too.
func goals() []goal {
	return []goal{
		{bench: "boot", name: "command app", subject: itself, limit: 2.5, ratio: true},
		{bench: "start", name: "start 1", subject: itself, limit: 10, unit: "ms"},
		{bench: "start", name: "start 1000", subject: itself, limit: 1.2, ratio: true},
		{bench: "start", name: "stop 1000", subject: itself, limit: 1.4, ratio: true},
		{bench: "start", name: "memory 1", subject: itself, limit: 12, unit: "MiB"},
		{bench: "start", name: "memory 1000", subject: itself, limit: 18, unit: "MiB"},
		{bench: "idle", name: "switches 100", subject: itself, limit: 0},
		{bench: "idle", name: "switches 1000", subject: itself, limit: 0},
		{bench: "idle", name: "CPU 100", subject: itself, limit: 0, unit: "ms"},
		{bench: "idle", name: "CPU 1000", subject: itself, limit: 0, unit: "ms"},
		{bench: "replace", name: "companion", subject: itself, limit: 1.5, ratio: true},
		{bench: "replace", name: "worker", subject: itself, limit: 1.5, ratio: true},
		{bench: "requests", name: "requests/s", subject: "gofork handler", limit: 0.97, ratio: true, atLeast: true},
		{bench: "requests", name: "requests/s", subject: "gofork handler reuse_port", limit: 0.97, ratio: true, atLeast: true},
		{bench: "requests", name: "requests/s", subject: "gofork command", limit: 0.97, ratio: true, atLeast: true},
		{bench: "requests", name: "requests/s", subject: "gofork handler, 1 worker", limit: 0.99, ratio: true, atLeast: true},
		{bench: "weight", name: "memory of one of two that serve", subject: itself, limit: 1.15, ratio: true},
		{bench: "reload", name: "failed", subject: itself, limit: 0},
		{bench: "reload", name: "worst latency", subject: itself, limit: 10, unit: "ms"},
		{bench: "changed", name: "wall", subject: itself, limit: 60, unit: "ms"},
		{bench: "changed", name: "restarts", subject: itself, limit: 1},
		{bench: "capture", name: "wall", subject: itself, limit: 0.35, unit: "s"},
		{bench: "capture", name: "CPU per GB", subject: itself, limit: 0.5, unit: "s"},
	}
}

// floorOf names the subject that the others of a benchmark are divided by.
func floorOf(bench string) string {
	switch bench {
	case "boot":
		return "alone"
	case "requests", "weight":
		return plain
	}
	return bareFloor
}

func (g goal) met(r *row) bool {
	value := r.Median
	if g.ratio {
		value = r.Ratio
	}
	if g.atLeast {
		return value >= g.limit
	}
	// Three digits are shown, so three digits count. A ratio of 0 has no floor.
	return value <= g.limit && (!g.ratio || value > 0)
}

func (g goal) text() string {
	sign, unit := "≤", g.unit
	if g.atLeast {
		sign = "≥"
	}
	if g.ratio {
		unit = "×"
	} else if unit != "" {
		unit = " " + unit
	}
	return fmt.Sprintf("%s %g%s", sign, g.limit, unit)
}
