package historytest

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// envSteps is how many steps a volume has instead of what its test asks for.
const envSteps = "SIMULATION_STEPS"

// A volume looks at the number of steps after so many histories, in each of which
// so much happens on average.
const (
	checks     = 1000
	happenings = 50
)

// Census counts what histories were made of.
type Census struct {
	Steps     int // facts that a core took in
	Histories int
	seen      map[string]int
}

// Saw counts one more of something.
func (c *Census) Saw(what string) {
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	c.seen[what]++
}

// Missing are those of a list that were not seen.
func (c *Census) Missing(list []string) (missing []string) {
	for _, what := range list {
		if c.seen[what] == 0 {
			missing = append(missing, what)
		}
	}
	return missing
}

// String is everything that was seen, most often first.
func (c *Census) String() string {
	all := slices.Sorted(maps.Keys(c.seen))
	slices.SortStableFunc(all, func(a, b string) int { return c.seen[b] - c.seen[a] })
	var text strings.Builder
	for _, what := range all {
		fmt.Fprintf(&text, "%9d %s\n", c.seen[what], what)
	}
	return text.String()
}

// Volume plays histories until census has counted that many steps, and fails when
// one of them fails, or when there are fewer. The seed is in the log: with
// -rapid.seed the same histories are played again. SIMULATION_STEPS asks for
// another number of steps; -short asks for a fiftieth.
func Volume(t *testing.T, steps int, census *Census, play func(*rapid.T)) {
	t.Helper()
	if testing.Short() {
		steps /= 50
	}
	if text := os.Getenv(envSteps); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("cannot use %s=%q: want a number of steps", envSteps, text)
		}
		steps = n
	}
	seed := seed(t)
	defer func() { // failed or not
		t.Logf("%d steps in %d histories, -rapid.seed=%d; what happened:\n%s", census.Steps, census.Histories, seed, census)
	}()
	set(t, "rapid.checks", strconv.Itoa(checks))
	set(t, "rapid.steps", strconv.Itoa(happenings))
	for round := uint64(0); census.Steps < steps; round++ {
		set(t, "rapid.seed", strconv.FormatUint(seed+round<<32, 10))
		before := census.Steps
		rapid.Check(t, func(t *rapid.T) {
			census.Histories++
			play(t)
		})
		if census.Steps < before+checks {
			break // they have hardly a step each: there would be no end
		}
	}
	if census.Steps < steps {
		t.Fatalf("%d steps, want %d", census.Steps, steps)
	}
}

// seed is the one that was asked for, or a new one.
func seed(t *testing.T) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(flag.Lookup("rapid.seed").Value.String(), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		n = uint64(rand.Uint32()) + 1
	}
	return n
}

// set changes one of rapid's flags, the only way to tell it, for one test.
func set(t *testing.T, name, value string) {
	t.Helper()
	f := flag.Lookup(name)
	was := f.Value.String()
	t.Cleanup(func() { _ = f.Value.Set(was) })
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
}
