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
// program: [syscall.ForkExec] cannot do them. So the package forks by itself
// (fork_linux.go), as package syscall does it and under its rules: the child runs
// in our memory, on our stack, while we wait; signals are blocked; it makes system
// calls and nothing else. A re-exec of our own binary would cost 1.2 ms more, and
// a signal that meets it would meet a Go runtime, not the program. Where there is
// no vfork in assembly (other processors than amd64 and arm64) the child has a
// copy of our memory, about 0.4 ms. An emulator that does not wait (qemu-user)
// makes of a program that cannot be executed a child that exits with 127.
package proc
