// Package launch turns what the configuration says of a child process into the
// command that package proc starts: program, environment, standard streams and
// limits. Arbiter and manager share it, so that a worker and a companion with
// the same keys are set up in the same way.
//
// A child's environment is gofork's own without what was meant for gofork alone
// (sockets handed over, the notify socket of its own supervisor, its private
// variables), then what the configuration adds, then what the child is told of
// itself. Later wins.
package launch
