// Package workertest has what tests of workers need, wherever the worker runs: in the
// test's own process, or behind a gofork that was built for it.
package workertest
