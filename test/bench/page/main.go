// Command page puts the figures of a run of bench into a page, as tables in
// Markdown between two marks. `make bench-docs` runs it.
//
// A table has a column for each subject and a row for each case: the median, and
// in brackets the smallest and the largest sample. Benchmarks that were not run
// are not in the page afterwards, so the whole of it is of one run.
//
// usage: page -json dist/bench.json docs/comparison.md
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"slices"
	"strings"
)

// The marks are invisible where Markdown is shown.
const (
	beginMark = "<!-- figures: written by make bench-docs, do not edit -->"
	endMark   = "<!-- end of figures -->"
)

func main() {
	figures := flag.String("json", "dist/bench.json", "the `file` that bench wrote")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: page [-json dist/bench.json] PAGE")
	}
	if err := update(flag.Arg(0), *figures); err != nil {
		log.Fatal(err)
	}
}

func update(page, figures string) error {
	data, err := os.ReadFile(figures)
	if err != nil {
		return fmt.Errorf("cannot read the figures: %w (make bench)", err)
	}
	var r run
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("cannot read %s: %w", figures, err)
	}
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	text, err := replace(old, r.markdown())
	if err != nil {
		return fmt.Errorf("cannot update %s: %w", page, err)
	}
	return os.WriteFile(page, text, 0o644)
}

// replace puts text between the marks of a page.
func replace(page []byte, text string) ([]byte, error) {
	head, rest, begins := bytes.Cut(page, []byte(beginMark))
	_, tail, ends := bytes.Cut(rest, []byte(endMark))
	if !begins || !ends {
		return nil, fmt.Errorf("it has no %q with %q after it", beginMark, endMark)
	}
	return slices.Concat(head, []byte(beginMark+"\n\n"+text+"\n"+endMark), tail), nil
}

// run is dist/bench.json, as far as it is shown.
type run struct {
	Head string `json:"head"`
	Rows []row  `json:"rows"`
}

type row struct {
	Bench   string  `json:"bench"`
	Case    string  `json:"case"`
	Subject string  `json:"subject"`
	Unit    string  `json:"unit"`
	Median  float64 `json:"median"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
}

// titles say what a benchmark measures, where its name does not.
func titles() map[string]string {
	return map[string]string{
		"boot":     "From exec to the first answer",
		"start":    "Start, memory and stop of N companions",
		"idle":     "What N idle companions cost their supervisors",
		"replace":  "From SIGKILL until the replacement is executed",
		"requests": "Requests through workers, 32 connections",
		"weight":   "Memory of one of two workers that serve, beside one of two processes of net/http",
		"reload":   "Three reloads at 500 requests a second over 25 kept connections, none sent twice",
		"changed":  "A reload with one of 1000 companions changed",
		"capture":  "500 MB of lines captured and rotated",
	}
}

func (r run) markdown() string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(r.Head)) {
		fmt.Fprintf(&b, "- %s\n", strings.TrimSpace(line))
	}
	shown := map[string]bool{}
	for _, first := range r.Rows {
		if shown[first.Bench] {
			continue
		}
		shown[first.Bench] = true
		title := titles()[first.Bench]
		if title == "" {
			title = first.Bench
		}
		fmt.Fprintf(&b, "\n### %s\n\n", title)
		b.WriteString(r.table(first.Bench))
	}
	return b.String()
}

// table has the cases and the subjects of a benchmark in the order of the run.
func (r run) table(bench string) string {
	var cases, subjects []string
	units := map[string]string{}
	cells := map[[2]string]string{}
	for _, row := range r.Rows {
		if row.Bench != bench {
			continue
		}
		if !slices.Contains(cases, row.Case) {
			cases = append(cases, row.Case)
			units[row.Case] = row.Unit
		}
		if !slices.Contains(subjects, row.Subject) {
			subjects = append(subjects, row.Subject)
		}
		cells[[2]string{row.Case, row.Subject}] = row.cell()
	}
	var b strings.Builder
	b.WriteString("| | | " + strings.Join(subjects, " | ") + " |\n")
	b.WriteString("|---|---|" + strings.Repeat("---:|", len(subjects)) + "\n")
	for _, c := range cases {
		fmt.Fprintf(&b, "| %s | %s |", c, units[c])
		for _, s := range subjects {
			cell, ok := cells[[2]string{c, s}]
			if !ok {
				cell = "–"
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (r row) cell() string {
	low, middle, high := short(r.Min), short(r.Median), short(r.Max)
	if low == high {
		return middle
	}
	return fmt.Sprintf("%s (%s–%s)", middle, low, high)
}

// short writes a figure with three digits that count, and a count as it is.
func short(v float64) string {
	switch {
	case v >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
