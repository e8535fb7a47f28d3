package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestLinesFindKeysWhereTheyStand(t *testing.T) {
	const doc = "# comment\r\n" +
		"a = 1\n" +
		"\n" +
		"[t.u] # header\n" +
		"'b.c' = [\n" +
		"  1, # one\n" +
		"  # none\n" +
		"  { x = 1, y = [2] },\n" +
		"]\n" +
		"d.e = { f.g = 1 }\n" +
		"s = \"\"\"\n\n\"\"\"\n" +
		"[t.u.v]\n" +
		"w = 1\n" +
		"broken\n"
	want := lines{
		"a": 2, "t": 4, "t.u": 4, `t.u."b.c"`: 5, `t.u."b.c"[0]`: 6, `t.u."b.c"[1]`: 8, `t.u."b.c"[1].x`: 8,
		`t.u."b.c"[1].y`: 8, `t.u."b.c"[1].y[0]`: 8, "t.u.d": 10, "t.u.d.e": 10, "t.u.d.e.f": 10, "t.u.d.e.f.g": 10,
		"t.u.s": 11, "t.u.v": 14, "t.u.v.w": 15,
	}
	got := linesOf([]byte(doc))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for key, line := range map[string]int{"t.u.v.missing": 14, `t.u."b.c"[1].z`: 8, "nowhere": 0, "t.x.y": 4, "": 0} {
		if n := got.of(key); n != line {
			t.Errorf("%s is in line %d, want %d", key, n, line)
		}
	}
}

func TestParentOfUndoesJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "names")
		key, last := join("", names[:len(names)-1]...), names[len(names)-1]
		if got := parentOf(join(key, last)); got != key {
			t.Fatalf("parent of %s is %s, want %s", join(key, last), got, key)
		}
		if got := parentOf(index(key, 3)); got != key {
			t.Fatalf("parent of %s is %s", index(key, 3), got)
		}
	})
}
