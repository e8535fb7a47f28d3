package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gofork/gofork/pkg/config"
)

func TestAProblemIsLoggedInItsParts(t *testing.T) {
	for _, tt := range []struct {
		problem config.Problem
		want    map[string]any
	}{
		{
			config.Problem{File: "a.toml", Line: 3, Key: "worker.cuont", Value: "2", Rule: "unknown key", Nearest: "count"},
			map[string]any{"file": "a.toml", "line": int64(3), "key": "worker.cuont", "value": "2", "rule": "unknown key", "nearest": "count"},
		},
		{
			config.Problem{File: "a.toml", Rule: "there is nothing to run"},
			map[string]any{"file": "a.toml", "line": int64(0), "key": "", "rule": "there is nothing to run"},
		},
	} {
		tt.want["event"] = "config.error"
		got := map[string]any{}
		for _, a := range problemAttrs(tt.problem) {
			got[a.Key] = a.Value.Any()
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Error(diff)
		}
	}
}
