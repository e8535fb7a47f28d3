package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// row is one figure of one subject: a sample a round.
type row struct {
	Bench   string    `json:"bench"`
	Case    string    `json:"case"`
	Subject string    `json:"subject"`
	Unit    string    `json:"unit"`
	Samples []float64 `json:"samples"`
	Median  float64   `json:"median"`
	Min     float64   `json:"min"`
	Max     float64   `json:"max"`
	Floor   string    `json:"floor,omitempty"` // the subject that the ratio is to
	Ratio   float64   `json:"ratio,omitempty"`
	Goal    string    `json:"goal,omitempty"`
	Met     *bool     `json:"met,omitempty"`
}

// The subjects that have goals, or are the measure of others.
const (
	itself    = "gofork"
	bareFloor = "floor"
	plain     = "net/http alone"
)

// add notes a sample.
func (l *lab) add(name, subject, unit string, value float64) {
	i := slices.IndexFunc(l.rows, func(r *row) bool {
		return r.Bench == l.current && r.Case == name && r.Subject == subject
	})
	if i < 0 {
		i = len(l.rows)
		l.rows = append(l.rows, &row{Bench: l.current, Case: name, Subject: subject, Unit: unit})
	}
	l.rows[i].Samples = append(l.rows[i].Samples, value)
}

// conclude works out what follows from the samples of a benchmark.
func (l *lab) conclude(name string) []*row {
	var rows []*row
	for _, r := range l.rows {
		if r.Bench != name {
			continue
		}
		rows = append(rows, r)
		sorted := slices.Sorted(slices.Values(r.Samples))
		n := len(sorted)
		r.Min, r.Max = sorted[0], sorted[n-1]
		r.Median = (sorted[(n-1)/2] + sorted[n/2]) / 2
	}
	for _, r := range rows {
		for _, f := range rows {
			if f.Case == r.Case && f.Subject == floorOf(r.Bench) && f != r && f.Median > 0 {
				r.Floor, r.Ratio = f.Subject, r.Median/f.Median
			}
		}
	}
	for _, r := range rows {
		for _, g := range goals() {
			if g.bench == r.Bench && g.name == r.Case && g.subject == r.Subject {
				met := g.met(r)
				r.Goal, r.Met = g.text(), &met
			}
		}
	}
	// The cases in the order of the first round, the subjects of each together.
	order := map[string]int{}
	for _, r := range rows {
		if _, seen := order[r.Case]; !seen {
			order[r.Case] = len(order)
		}
	}
	slices.SortStableFunc(rows, func(a, b *row) int { return order[a.Case] - order[b.Case] })
	return rows
}

// table prints what a benchmark found.
func (l *lab) table(w io.Writer, name string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) {
		if _, err := fmt.Fprintf(t, format, args...); err != nil {
			panic(err) // a tabwriter keeps its text in memory until Flush
		}
	}
	line("\tsubject\tmedian\tmin–max\tunit\tratio\tgoal\t\t\n")
	shown := ""
	for _, r := range l.conclude(name) {
		title := ""
		if r.Case != shown {
			title, shown = r.Case, r.Case
		}
		ratio, verdict := "", ""
		if r.Ratio > 0 {
			ratio = fmt.Sprintf("%.2f×", r.Ratio)
		}
		if r.Met != nil {
			verdict = map[bool]string{true: "met", false: "MISSED"}[*r.Met]
		}
		line("%s\t%s\t%s\t%s–%s\t%s\t%s\t%s\t%s\t\n", title, r.Subject,
			short(r.Median), short(r.Min), short(r.Max), r.Unit, ratio, r.Goal, verdict)
	}
	if err := t.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// short writes a figure with three digits that count.
func short(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// writeJSON keeps the figures for a later comparison.
func (l *lab) writeJSON(path, head string) error {
	data, err := json.MarshalIndent(struct {
		Head string `json:"head"`
		Rows []*row `json:"rows"`
	}{head, l.rows}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
