package config

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDurationsReadBackWhatTheyWrite(t *testing.T) {
	k := &Key{Kind: KindDuration, Default: "1s"}
	rapid.Check(t, func(t *rapid.T) {
		want := time.Duration(rapid.Int64Range(0, int64(maxDuration)).Draw(t, "d"))
		if got, rule := parseDuration(k, want.String()); rule != "" || got != want {
			t.Fatalf("%s: got %s, %s", want, got, rule)
		}
		seconds := int64(want / time.Second)
		if got, rule := parseDuration(k, seconds); rule != "" || got != time.Duration(seconds)*time.Second {
			t.Fatalf("%d: got %s, %s", seconds, got, rule)
		}
	})
}

func TestNoNumberMakesADurationOutOfRange(t *testing.T) {
	k := &Key{Kind: KindDuration, Default: "1s"}
	rapid.Check(t, func(t *rapid.T) {
		var raw any = rapid.Int64().Draw(t, "int")
		if rapid.Bool().Draw(t, "float") {
			raw = rapid.Float64().Draw(t, "f")
		}
		if d, rule := parseDuration(k, raw); rule == "" && (d < 0 || d > maxDuration) {
			t.Fatalf("%v became %s", raw, d)
		}
	})
}

func TestSizes(t *testing.T) {
	k := &Key{Kind: KindSize, Default: int64(0)}
	for in, want := range map[any]int64{
		"512MiB": 512 << 20, "64KiB": 64 << 10, "10MB": 10e6, "1g": 1e9, "1.5KiB": 1536, "7": 7, "0": 0, int64(42): 42, "3 GiB": 3 << 30,
	} {
		if got, rule := parseSize(k, in); rule != "" || got != want {
			t.Errorf("%v: got %d, %s; want %d", in, got, rule, want)
		}
	}
	for _, in := range []any{"", "x", "1XB", "1e3", "٣MiB", "..", "1.5.5MB", 1.5, true, int64(-1), "2PiB"} {
		if got, rule := parseSize(k, in); rule == "" {
			t.Errorf("%v: got %d, want an error", in, got)
		}
	}
}
