// Package historytest proves a core on generated histories: long runs of what can
// happen to it, drawn by rapid, which makes one that fails as short as it can.
//
// A test brings a world (a model of what is around its core) and laws (what holds
// whatever happens). This package has the rest: [Script] says what happens next and
// can say it again, so that one history can be taken up at any of its points, as
// [AtEveryPoint] does; a [Deck] has what can happen, and a [Tale] says what did;
// [Volume] plays histories until there were enough steps; [Census] counts what was
// seen on the way, because histories in which nothing happens prove nothing; [Hunt]
// plays them against a core that is wrong on purpose, by a [Mutation], until a law
// catches it.
package historytest
