// Package shim is the first instruction of a child process: the supervisor's
// own binary, executed again, which finishes what only the child itself can do
// and then becomes the program.
//
//	supervisor ── fork, exec /proc/self/exe ──▶ shim: init of this package
//	           ── limits, nice, oom score ───▶   waits at the gate
//	           ── one byte through the gate ─▶   LISTEN_PID, no_new_privs, rlimits
//	                                             execve: the program, same pid
//
// It is imported blank by pkg/proc, so that every binary that can start children
// can be their shim, and it works in init, before anything else of the binary
// runs: a supervisor's start-up would cost each child milliseconds.
//
// It imports syscall (and unsafe, which is no package to initialise) and nothing else, which is an invariant with two reasons.
// Packages are initialised in the order of their import paths once their imports
// are, so with so little to wait for this one is among the first. And package os
// raises RLIMIT_NOFILE when it is initialised and lowers it again at exec, which
// would undo the limit that the child was given; here os has not run yet.
//
// Without [Variable] in the environment the package does nothing.
package shim
