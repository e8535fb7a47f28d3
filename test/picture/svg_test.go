package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write testdata/reload.svg anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

// sample is a take with everything that can be drawn.
func sample() *take {
	t := &take{
		length: 10 * time.Second,
		about:  "gofork <v0> & 2 workers",
		reloads: []reload{
			{label: "reload 1", asked: 2 * time.Second, done: 2500 * ms, drained: 3600 * ms},
			{label: brokenLabel, asked: 6 * time.Second, done: 6008 * ms, drained: 6010 * ms, refused: true},
		},
	}
	for i := range 100 {
		t.requests = append(t.requests, request{due: time.Duration(i) * 100 * ms, took: time.Duration(1+i%7) * 300 * time.Microsecond})
	}
	t.requests[24].took = 20 * ms            // the slowest of those that were answered
	t.requests[0].took = 1 * time.Nanosecond // below the axis
	t.requests[60] = request{due: 6 * time.Second, took: 1500 * ms, failed: true}
	t.requests[61] = request{due: 6 * time.Second, took: 1500 * ms, failed: true}
	return t
}

func TestPictureOfATake(t *testing.T) {
	t.Parallel()
	const file = "testdata/reload.svg"
	got := draw(sample())
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the picture differs from %s; look at both, then -update:\n%s", file, got)
	}
}

func TestPictureCountsWhatFailed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		take    *take
		outcome string
		crosses int // the one of the legend included
	}{
		"two at the same place": {sample(), "100 requests, 2 failed. Latency: median 1.2 ms, 99 % within 20 ms, worst 20 ms.", 2},
		"none": {
			&take{length: time.Second, requests: []request{{took: ms}}},
			"1 requests, 0 failed. Latency: median 1.0 ms, 99 % within 1.0 ms, worst 1.0 ms.", 1,
		},
		"all": {
			&take{length: time.Second, requests: []request{{took: ms, failed: true}, {due: 500 * ms, took: ms, failed: true}}},
			"2 requests, 2 failed.", 3,
		},
		"nothing asked": {&take{length: time.Second}, "0 requests, 0 failed.", 1},
	} {
		svg := string(draw(c.take))
		if !strings.Contains(svg, ">"+c.outcome+"<") {
			t.Errorf("%s: no %q in\n%s", name, c.outcome, svg)
		}
		if n := strings.Count(svg, cross); n != c.crosses {
			t.Errorf("%s: %d crosses, want %d", name, n, c.crosses)
		}
	}
}

// GitHub shows an SVG as an image: it has to be well formed, and whatever it
// refers to outside of itself is not loaded.
func TestPictureIsWellFormedAndSelfContained(t *testing.T) {
	t.Parallel()
	svg := draw(sample())
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
	}
	for _, outside := range regexp.MustCompile(`(?i)https?:[^"]*|url\(|<image|<script|@import`).FindAllString(string(svg), -1) {
		if outside != "http://www.w3.org/2000/svg" {
			t.Errorf("the picture has %s", outside)
		}
	}
	if !bytes.Contains(svg, []byte("prefers-color-scheme:dark")) {
		t.Error("the picture has no colours for dark themes")
	}
}

// As many requests as a run has, as different as they come, make no large file.
func TestPictureOfALongRunIsSmall(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	random := rand.New(rand.NewPCG(1, 2))
	long := &take{length: 15 * time.Second}
	for range rate * 15 {
		long.requests = append(long.requests, request{
			due:  time.Duration(random.Int64N(int64(long.length))),
			took: time.Duration(float64(quickest) * (1 + random.ExpFloat64()*5)),
		})
	}
	if n := len(draw(long)); n > limit {
		t.Errorf("the picture has %d bytes, want at most %d", n, limit)
	}
}
