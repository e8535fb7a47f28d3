package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// File is what set the key: the file as it was named to Load, the environment
	// variable, or the flag.
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`    // from 1; 0 = not known
	Key     string `json:"key,omitempty"`     // dotted; "" when it is about the whole file
	Value   string `json:"value,omitempty"`   // as TOML, shortened; "" when it does not matter or is a secret
	Rule    string `json:"rule"`              // what is asked for
	Nearest string `json:"nearest,omitempty"` // the known name that comes closest: of a key always, of another word when it is close

	far bool // Nearest is most likely not what was meant
}

const unknownKey = "unknown key"

// Error says where, what, and which rule:
//
//	app.toml:3: worker.count: cannot use -1: must be a number from 1 to 1024, or "auto"
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			b.WriteString(":" + strconv.Itoa(p.Line))
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	switch {
	case p.Value == "":
		b.WriteString(p.Rule)
	case p.Rule == unknownKey: // whatever its value
		b.WriteString(p.Rule + ", set to " + p.Value)
	default:
		b.WriteString("cannot use " + p.Value + ": " + p.Rule)
	}
	switch {
	case p.Nearest == "":
	case p.far:
		fmt.Fprintf(&b, " (the nearest known key is %q)", p.Nearest)
	default:
		fmt.Fprintf(&b, " (did you mean %q?)", p.Nearest)
	}
	return b.String()
}

// Problems is everything that is wrong with a configuration, sorted by file, line
// and key. It is the error of [Load].
type Problems []Problem

// Error is all of them, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted returns ps in its documented order, each problem once.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Rule, b.Rule))
	})
	return slices.Compact(ps)
}

// maxCompared is how many bytes of a name are compared with the known ones: the distance
// costs the product of the lengths.
const maxCompared = 64

// nearest returns the name in known that a reader most likely meant, "" when none
// is close: at most a third of its letters, two (a swap) in a short one, never more than three.
func nearest(name string, known []string) string {
	if len(name) > maxCompared {
		return "" // no typing error
	}
	best, bestDistance := "", 4
	for _, k := range known {
		d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(k))
		if d < bestDistance && d <= max(2, utf8.RuneCountInString(k)/3) && d < min(len(k), len(name))-1 {
			best, bestDistance = k, d
		}
	}
	return best
}

// unknown is the problem of a name that is no key: the closest of known is named however
// far it is.
func unknown(key, name string, value any, rule string, known []string) Problem {
	p := Problem{Key: key, Value: show(value), Rule: rule, Nearest: nearest(name, known)}
	if p.Nearest != "" {
		return p
	}
	p.far = true
	name = strings.ToLower(name[:min(len(name), maxCompared)])
	least := math.MaxInt
	for _, k := range known {
		if d := levenshtein.ComputeDistance(name, k); d < least {
			p.Nearest, least = k, d
		}
	}
	return p
}

// maxShown is how many bytes of a value an error shows.
const maxShown = 80

// show writes a value as TOML does, shortened.
func show(v any) string {
	s := showValue(v)
	if len(s) <= maxShown {
		return s
	}
	cut := maxShown
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

func showValue(v any) string {
	switch v := v.(type) {
	case description:
		return string(v)
	case text:
		return strconv.Quote(string(v))
	case string:
		if len(v) > maxShown {
			v = v[:maxShown]
		}
		return strconv.Quote(v)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return strings.ToLower(strings.TrimPrefix(fmt.Sprint(v), "+"))
		}
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".e") {
			s += ".0" // as it was written: 2.0 is wrong where 2 is right
		}
		return s
	case time.Duration:
		return FormatDuration(v)
	case []any:
		var b strings.Builder
		b.WriteByte('[')
		for i, e := range v {
			if b.Len() > maxShown {
				break
			}
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(showValue(e))
		}
		b.WriteByte(']')
		return b.String()
	case map[string]any:
		return "a table"
	default:
		return fmt.Sprint(v)
	}
}

// oneOf writes the rule for a value out of a fixed set.
func oneOf(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	if len(quoted) == 1 {
		return "must be " + quoted[0]
	}
	last := len(quoted) - 1
	return "must be " + strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}
