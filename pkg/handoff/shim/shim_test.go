package shim

import (
	"go/parser"
	"go/token"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestShimImportsNothingThatWouldDelayIt(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		seen++
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			if path, _ := strconv.Unquote(spec.Path.Value); path != "syscall" && path != "unsafe" {
				t.Errorf("%s imports %s", f.Name(), path)
			}
		}
	}
	if seen == 0 {
		t.Error("no files were seen")
	}
}

func TestSettingSurvivesItsEncoding(t *testing.T) {
	for _, s := range []Setting{
		{Path: "/bin/true", Gate: NoGate},
		{Path: "/bin/with a -- blank ", Gate: 0, NoNewPrivs: true},
		{Path: "relative=path", Gate: 12, OwnPID: true, NoNewPrivs: true, Limits: []Limit{
			{Resource: 0, Soft: 0, Hard: 1}, {Resource: 15, Soft: math.MaxUint64 - 1, Hard: math.MaxUint64},
		}},
	} {
		if got, ok := parse(s.String()); !ok || !reflect.DeepEqual(got, s) {
			t.Errorf("%q: %+v, %v; want %+v", s, got, ok, s)
		}
	}
}

func TestMalformedSettingIsRefused(t *testing.T) {
	for _, value := range []string{
		"", "--", "-- ", "/bin/true", "gate= -- /x", "gate=-1 -- /x", "gate=99999999999 -- /x",
		"limit=1:2 -- /x", "limit=1:2:18446744073709551616 -- /x", "limit=a:2:3 -- /x", "what -- /x", " -- /x",
	} {
		if s, ok := parse(value); ok {
			t.Errorf("%q was read as %+v", value, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("gate=5 nnp pid limit=7:1:2 -- /bin/true")
	f.Add("gate=5 gate=6 -- x")
	f.Fuzz(func(t *testing.T, value string) {
		s, ok := parse(value)
		if !ok {
			return
		}
		again, ok := parse(s.String())
		if !ok || !reflect.DeepEqual(again, s) {
			t.Errorf("%q was read as %+v, then as %+v", value, s, again)
		}
	})
}

func TestEnvironment(t *testing.T) {
	in := []string{"A=1", Variable + "=x", "LISTEN_PID=1", "WATCHDOG_USEC=9", "WATCHDOG_PID=2", "B", "LISTEN_FDS=1"}
	for _, c := range []struct {
		own  bool
		want []string
	}{
		{false, []string{"A=1", "LISTEN_PID=1", "WATCHDOG_USEC=9", "WATCHDOG_PID=2", "B", "LISTEN_FDS=1"}},
		{true, []string{"A=1", "WATCHDOG_USEC=9", "B", "LISTEN_FDS=1", "LISTEN_PID=42", "WATCHDOG_PID=42"}},
	} {
		if got := environment(in, c.own, 42); !slices.Equal(got, c.want) {
			t.Errorf("own pid %v: %q, want %q", c.own, got, c.want)
		}
	}
}
