// Package proc is the operating system as a supervisor needs it: the only place
// of gofork that starts, signals and waits for processes.
//
// # One child
//
//	Start ──▶ running ──▶ ended ──Sweep──▶ Exits ──▶ no member lives: over
//	            ▲ Signal, SignalGroup         │
//	            │                             └─▶ GroupAlive: watched ──Sweep──▶ Gone
//	 Watch ─────┴────────────────────────────────▶ ▲ SignalGroup
//
// A child leads a process group. It is over when the whole group is, not when
// its leader is: members that live on are watched, can be signalled as a group,
// and their end is reported. A group of another supervisor is taken in by Watch.
//
// # Invariants
//
//   - One goroutine, locked to the main thread, forks, signals and reaps. Between
//     its look at the table and its kill(2) nobody can reap, so no signal ever
//     reaches a process that got a used pid.
//   - wait4(-1) to the end on each SIGCHLD, and once at first. No other package
//     waits, os/exec in particular: it would lose its children to the sweep.
//   - Nothing is polled and nothing ticks. What sends no SIGCHLD has a pidfd.
//   - A child gets the descriptors that it was given and no others, default
//     dispositions, an empty mask, and every attribute before its first
//     instruction.
//
// # Between fork and exec
//
// LISTEN_PID, the umask, no_new_privs, resource limits, nice and the OOM score
// are the child's own business, between fork and exec, where Go runs no code of a
// program: [syscall.ForkExec] cannot do them. For a [Command] that has any of
// these the package forks by itself (fork_linux.go), under the rules that package
// syscall follows there: signals are blocked, and the child makes system calls and
// nothing else. It costs a copy of the page tables, about 0.1 ms. A re-exec of our
// own binary would cost 1.2 ms, and a signal that meets it would meet a Go
// runtime, not the program.
package proc
