// Package companion is the companion manager: the one child of the arbiter that
// runs the named companion processes, and what a companion that is a Go
// function compiled into the binary sees of it ([Func]).
//
// # States of an instance
//
//	               start                     up for startsecs, READY=1
//	STOPPED ─────────────────► STARTING ───────────────────────────────► RUNNING
//	EXITED  ─────────────────►    │ ▲                                       │
//	FATAL   ─────────────────►    │ │ delay over, start                     │
//	                              │ │                                       │
//	        exit, restart wanted  ▼ │            exit, restart wanted       │
//	            ┌───────────── BACKOFF ◄────────────────────────────────────┤
//	            │ startretries    │ stop                                    │
//	            ▼ used up         ▼                                         │
//	          FATAL            STOPPED        exit, autorestart says no     │
//	                                          ─────────────────► EXITED ◄───┤
//	                                                                        │
//	             stop, restart, removed, shutdown, recycling                │
//	STARTING ─────────────────────────► STOPPING ◄──────────────────────────┘
//	                                       │ the whole process group is gone
//	                                       ▼
//	                        STOPPED, STARTING (restart), or no more (removed)
//
// # Invariants
//
//   - At most one attempt of an instance has a living process, group members
//     included. STARTING is entered only when nothing of an earlier attempt lives.
//   - An attempt gets its stop signal at most once, and SIGKILL only after the
//     stop window.
//   - A phase has at most one deadline, and leaving the phase clears it. Members
//     that outlive their leader have a deadline of their own.
//   - The n-th consecutive restart waits min(backoff_initial × 2^(n-1), backoff_max).
//   - What ended because somebody wanted it to is expected; it is neither
//     delayed nor counted as a failure.
//   - After shutdown nothing starts, and the manager ends only when nothing lives.
//
// # Rooms
//
// event.go and action.go are the vocabulary: facts in, orders out. core.go and
// its neighbours decide: step(now, event) returns actions, without a goroutine,
// a clock, a logger or a system call. loop.go and perform.go carry the actions
// out: one goroutine, one select, one timer, locked to the main thread because
// it forks and reaps.
package companion
