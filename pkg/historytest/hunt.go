package historytest

import (
	"fmt"

	"pgregory.net/rapid"
)

// Law is one sentence of a core's specification.
type Law string

// Breach is a law that was broken, and how. It is what a world panics with in a
// [Hunt].
type Breach struct {
	Law Law
	How string
}

// Error implements error.
func (b Breach) Error() string { return fmt.Sprintf("broken: %s\n%s", b.Law, b.How) }

// Hunt plays histories, always the same, until one breaks a law. It says how many
// it took; 0 when none of that many did. A history that breaks another law first is
// over, and counted in others by that law.
func Hunt(law Law, histories int, play func(*rapid.T)) (after int, others map[Law]int) {
	others = map[Law]int{}
	one := rapid.Custom(func(t *rapid.T) (broken Law) {
		defer func() {
			switch v := recover().(type) {
			case nil:
			case Breach:
				broken = v.Law
			default:
				panic(v)
			}
		}()
		play(t)
		return ""
	})
	for n := range histories {
		switch broken := one.Example(n); broken {
		case "":
		case law:
			return n + 1, others
		default:
			others[broken]++
		}
	}
	return 0, others
}
