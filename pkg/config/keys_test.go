package config

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryKeyIsDescribed(t *testing.T) {
	seen := map[string]bool{}
	r := reader{schema: newSchema()}
	for _, k := range Keys() {
		path := k.Path()
		if seen[path] {
			t.Errorf("%s is there twice", path)
		}
		seen[path] = true
		if !strings.HasSuffix(k.Doc, ".") && !strings.HasSuffix(k.Doc, "…") {
			t.Errorf("%s: %q is no sentence", path, k.Doc)
		}
		if k.Default == nil {
			continue
		}
		if _, ok := r.parse(&k, path, k.Default); !ok {
			t.Errorf("%s: the default is refused: %v", path, r.problems)
		}
		if word, ok := k.Default.(string); ok && word != "" && (k.Kind == KindString || k.Kind == KindOutput) && !slices.Contains(k.Enum, word) {
			t.Errorf("%s: the default %q is not one of %q", path, word, k.Enum)
		}
	}
}

func TestNotYetNamesKeysOfTheSchema(t *testing.T) {
	for _, pattern := range notYet() {
		found := slices.ContainsFunc(Keys(), func(k Key) bool {
			path := k.Path()
			return matchKey(pattern, path) || matchKey(pattern, strings.Replace(path, "companion.NAME", defaultsTable, 1))
		})
		if !found {
			t.Errorf("%s matches no key", pattern)
		}
	}
}

func TestMatchKey(t *testing.T) {
	for _, tt := range []struct {
		pattern, key string
		want         bool
	}{
		{"admin.*", "admin.bind", true},
		{"admin.*", "admin", false},
		{"admin.*", "admin.bind.x", false},
		{"companion.*.max_memory", "companion.a.max_memory", true},
		{"companion.*.max_memory", "companion.a.max_lifetime", false},
		{"worker.watch", "worker.watches", false},
	} {
		if got := matchKey(tt.pattern, tt.key); got != tt.want {
			t.Errorf("matchKey(%q, %q) = %v", tt.pattern, tt.key, got)
		}
	}
}
