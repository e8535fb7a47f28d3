package historytest

import "slices"

// Deed is something that can happen next in a world W, this often among all.
type Deed[W any] struct {
	Weight int
	Name   string
	Do     func(W)
}

// Deck has each deed as often as it weighs.
type Deck[W any] []Deed[W]

// NewDeck keeps the order: the first ones, and the last, are drawn more often.
func NewDeck[W any](deeds []Deed[W]) (deck Deck[W]) {
	for _, d := range deeds {
		deck = append(deck, slices.Repeat([]Deed[W]{d}, d.Weight)...)
	}
	return deck
}

// Happen lets one of them happen to a world.
func (d Deck[W]) Happen(w W, s *Script, census *Census) {
	deed := Pick(s, "deed", d...)
	census.Saw(deed.Name)
	deed.Do(w)
}
