// Package test holds the end-to-end tests: the real gofork binary, real child
// processes, real signals, judged by what anyone can see of them — the log, the
// control socket, the command line, HTTP answers and /proc.
//
// The binary is built once for a run, with the race detector when the tests
// have it; GOFORK_BIN names a finished one instead. The children are this test
// binary again (child_test.go says in which roles), so they cannot go stale.
//
// Three rules hold for every test that starts gofork, and the harness checks
// them when the test ends: gofork ends, nothing that it started is alive
// (everything it starts inherits a marker in its environment, so /proc tells),
// and nothing was left unreaped. Nothing here sleeps: a test waits for a
// record, an answer or a process's end, each with a deadline that only a
// failure reaches.
//
// Two tests guard the source instead: which package may import which, and what
// every package owes its readers.
package test
