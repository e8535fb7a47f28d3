package metrics

import (
	"math"
	"strconv"
	"strings"
)

// contentType is that of the text format.
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// kind is a type of the text format.
type kind string

const (
	counter   kind = "counter"
	gauge     kind = "gauge"
	histogram kind = "histogram"
)

// text is an exposition that is being written. All samples of a family follow its
// head.
type text struct {
	b    []byte
	name string // of the present family
}

func (t *text) family(name string, k kind, help string) {
	t.name = name
	t.b = append(t.b, "# HELP "...)
	t.b = append(t.b, name...)
	t.b = append(t.b, ' ')
	t.b = append(t.b, strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(help)...)
	t.b = append(t.b, "\n# TYPE "...)
	t.b = append(t.b, name...)
	t.b = append(t.b, ' ')
	t.b = append(t.b, k...)
	t.b = append(t.b, '\n')
}

// sample writes one value; labels are name, value, name, value … A label without a
// value is left out, which means the same.
func (t *text) sample(v float64, labels ...string) { t.suffixed("", v, labels...) }

func (t *text) suffixed(suffix string, v float64, labels ...string) {
	t.b = append(t.b, t.name...)
	t.b = append(t.b, suffix...)
	open := byte('{')
	for i := 0; i+1 < len(labels); i += 2 {
		if labels[i+1] == "" {
			continue
		}
		t.b = append(t.b, open)
		open = ','
		t.b = append(t.b, labels[i]...)
		t.b = append(t.b, `="`...)
		t.b = appendEscaped(t.b, labels[i+1])
		t.b = append(t.b, '"')
	}
	if open == ',' {
		t.b = append(t.b, '}')
	}
	t.b = append(t.b, ' ')
	t.b = appendNumber(t.b, v)
	t.b = append(t.b, '\n')
}

// one is a family of one sample.
func (t *text) one(name string, k kind, help string, v float64, labels ...string) {
	t.family(name, k, help)
	t.sample(v, labels...)
}

func (t *text) histogram(h *Histogram, labels ...string) {
	var total uint64
	for i, n := range h.Buckets {
		total += n
		le := "+Inf"
		if i < len(h.Bounds) {
			le = strconv.FormatFloat(h.Bounds[i], 'g', -1, 64)
		}
		t.suffixed("_bucket", float64(total), append(labels[:len(labels):len(labels)], "le", le)...)
	}
	t.suffixed("_sum", h.Sum, labels...)
	t.suffixed("_count", float64(total), labels...)
}

// appendEscaped makes any text fit between the quotes.
func appendEscaped(b []byte, s string) []byte {
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch r {
		case '\\':
			b = append(b, `\\`...)
		case '"':
			b = append(b, `\"`...)
		case '\n':
			b = append(b, `\n`...)
		default:
			b = append(b, string(r)...)
		}
	}
	return b
}

func appendNumber(b []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case math.IsInf(v, -1):
		return append(b, "-Inf"...)
	case v == math.Trunc(v) && math.Abs(v) < 1e15:
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// Histogram is a distribution: how many values were in each bucket. Buckets has one
// more than Bounds has: what is above the last bound.
type Histogram struct {
	Bounds  []float64
	Buckets []uint64
	Sum     float64
}

func newHistogram(bounds ...float64) Histogram {
	return Histogram{Bounds: bounds, Buckets: make([]uint64, len(bounds)+1)}
}

func (h *Histogram) observe(v float64) {
	i := 0
	for i < len(h.Bounds) && v > h.Bounds[i] {
		i++
	}
	h.Buckets[i]++
	h.Sum += v
}
