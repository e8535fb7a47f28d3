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
