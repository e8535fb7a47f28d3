package proc

import "testing"

func TestParseStat(t *testing.T) {
	fields := func(threads string) string {
		return " 7 3 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 " + threads + " 0 987 1 2 3\n"
	}
	for _, c := range []struct {
		name, stat string
		want       process
		ok         bool
	}{
		{"plain", "12 (sh) S" + fields("1"), process{pid: 12, parent: 7, group: 3, started: 987}, true},
		{"name like a stat line", "12 (x) Z 1 1 (y) R" + fields("1"), process{pid: 12, parent: 7, group: 3, started: 987}, true},
		{"zombie", "12 (sh) Z" + fields("1"), process{pid: 12, parent: 7, group: 3, started: 987, dead: true}, true},
		{"main thread ended, others run", "12 (sh) Z" + fields("4"), process{pid: 12, parent: 7, group: 3, started: 987}, true},
		{"cut off", "12 (sh) S 7 3", process{}, false},
		{"empty", "", process{}, false},
		{"no name", "12 S 7 3", process{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := parseStat([]byte(c.stat))
			if ok != c.ok || ok && got != c.want {
				t.Errorf("%+v, %v; want %+v, %v", got, ok, c.want, c.ok)
			}
		})
	}
}
