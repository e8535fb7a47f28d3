//go:build linux && race

package chaos

// raceEnabled says that gofork is built with the race detector, as this test is.
const raceEnabled = true
