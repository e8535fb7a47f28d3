// Package nofile remembers the limit of open files that this process was started
// with. Package syscall raises the soft limit for itself when it is initialised,
// gives the old one back to whom syscall.ForkExec starts, and tells nobody: who
// forks by himself has to have looked before.
//
// It imports nothing, which is an invariant: packages are initialised in the order
// of their import paths as soon as their imports are, so this one comes before
// syscall. A test sees to it.
package nofile

// Limit is a limit of open files; both are 0 where it is not known.
type Limit struct{ Soft, Hard uint64 }

// AtStart is the limit that this process was started with.
var AtStart = read()
