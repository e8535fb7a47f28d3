//go:build linux && race

package test

// raceEnabled says that this test binary has the race detector; gofork is then
// built with it too.
const raceEnabled = true
