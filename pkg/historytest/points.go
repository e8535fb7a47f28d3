package historytest

import (
	"slices"

	"pgregory.net/rapid"
)

// AtEveryPoint plays a life in a world W, and then the same life again up to each of
// its facts, where it is stopped, once gracefully and once quickly, and goes to its
// end. It returns how many times that was.
//
// A life begins with begin, which stops it behind so many facts, 0 = behind none; it
// goes on with next; and points has the length of its script behind each fact.
func AtEveryPoint[W any](t *rapid.T, begin func(s *Script, stopAt int, quick bool) W, next, end func(W), points func(W) []int) (stops int) {
	script, deeds := NewScript(t), 0
	life := begin(script, 0, false)
	Play(t, func() {
		next(life)
		deeds++
	})
	all := points(life)
	for n, at := range all {
		for _, quick := range []bool{false, true} {
			w := begin(script.Again(at), n+1, quick)
			for i := 0; i < deeds && len(points(w)) <= n; i++ {
				next(w)
			}
			if got := points(w); len(got) <= n || !slices.Equal(got[:n+1], all[:n+1]) {
				t.Fatalf("the same choices give another history: %v, want %v", got, all[:n+1])
			}
			end(w)
			stops++
		}
	}
	return stops
}
