package historytest

import "pgregory.net/rapid"

// Script says what happens next in a history. Its choices are drawn by rapid and
// kept, so that the beginning of a history can be played again.
type Script struct {
	t     *rapid.T
	given []int // choices that are not drawn but made again
	made  []int // every choice so far
	ints  map[int]*rapid.Generator[int]
}

// NewScript draws all of its choices.
func NewScript(t *rapid.T) *Script {
	return &Script{t: t, ints: map[int]*rapid.Generator[int]{}}
}

// Length is the number of choices made so far.
func (s *Script) Length() int { return len(s.made) }

// Again is a script that makes the first n choices again, and draws those behind.
func (s *Script) Again(n int) *Script {
	return &Script{t: s.t, given: s.made[:n:n], ints: s.ints}
}

// Below chooses one of 0 … n-1. The first ones are drawn a little more often, and
// what fails is made shorter towards them.
func (s *Script) Below(label string, n int) int {
	if n <= 1 {
		return 0
	}
	var v int
	if at := len(s.made); at < len(s.given) {
		v = s.given[at]
	} else {
		g := s.ints[n]
		if g == nil {
			g = rapid.IntRange(0, n-1)
			s.ints[n] = g
		}
		v = g.Draw(s.t, label)
	}
	s.made = append(s.made, v)
	return v
}

// OneIn is true about once in n times; a shorter history has it false.
func (s *Script) OneIn(label string, n int) bool { return s.Below(label, n) == n-1 }

// Pick chooses one of a list, which is not empty.
func Pick[E any](s *Script, label string, list ...E) E { return list[s.Below(label, len(list))] }

// Play lets things happen one after another until rapid has had enough of them,
// each such that it can be left out when a history is made shorter.
func Play(t *rapid.T, happen func()) {
	t.Repeat(map[string]func(*rapid.T){"next": func(*rapid.T) { happen() }})
}
