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
//	                           BACKOFF ◄────────────────────────────────────┤
//	                              │ stop                                    │
//	                              ▼                                         │
//	                           STOPPED        exit, autorestart says no     │
//	                                          ─────────────────► EXITED ◄───┤
//	                                          exit, startretries used up    │
//	                                          ─────────────────► FATAL  ◄───┤
//	                                                                        │
//	             stop, restart, removed, shutdown, recycling                │
//	STARTING ─────────────────────────► STOPPING ◄──────────────────────────┘
//	                                       │ the whole process group is gone
//	                                       ▼
//	                        STOPPED, STARTING (restart), or no more (removed)
//
// The same as a table, which the tests walk and hold every generated history to.
// "…, members" is an instance whose leader has ended and whose group lives on:
//
//	from               on                         to
//	STOPPED            start                      STARTING
//	EXITED             start                      STARTING
//	FATAL              start                      STARTING
//	BACKOFF            start                      STARTING
//	BACKOFF            delay over                 STARTING
//	STARTING           up for startsecs           RUNNING
//	STARTING           READY=1                    RUNNING
//	STARTING           exit, restart wanted       BACKOFF
//	RUNNING            exit, restart wanted       BACKOFF
//	RUNNING            exit, backoff_initial 0    STARTING
//	STARTING           exit, autorestart no       EXITED
//	RUNNING            exit, autorestart no       EXITED
//	STARTING           exit, retries used up      FATAL
//	RUNNING            exit, retries used up      FATAL
//	STARTING           stop                       STOPPING
//	RUNNING            stop                       STOPPING
//	RUNNING            max_lifetime               STOPPING
//	STARTING           stop before its process    STOPPED
//	BACKOFF            stop                       STOPPED
//	BACKOFF, members   start                      STOPPING
//	EXITED, members    start                      STOPPING
//	FATAL, members     start                      STOPPING
//	STOPPING           group gone                 STOPPED
//	STOPPING           group gone, restart        STARTING
//	STOPPING           group gone, removed        none
//	STOPPED            removed                    none
//	BACKOFF            removed                    none
//	EXITED             removed                    none
//	FATAL              removed                    none
//	STARTING           removed before its process none
//	none               apply                      STARTING
//	none               apply, autostart off       STOPPED
//	none               apply, remembered          EXITED
//	none               apply, remembered          FATAL
//
// # Invariants
//
//   - At most one attempt of an instance has a living process, group members
//     included. STARTING is entered only when nothing of an earlier attempt lives.
//   - An attempt gets its stop signal at most once (with stop_group off, once to
//     the leader and once to the members that outlive it), and SIGKILL only after
//     the stop window.
//   - A phase has at most one deadline, and leaving the phase clears it. Members
//     that outlive their leader have a deadline of their own.
//   - The n-th consecutive restart waits min(backoff_initial × 2^(n-1), backoff_max).
//   - What ended because somebody wanted it to is expected; it is neither
//     delayed nor counted as a failure.
//   - After shutdown nothing starts, and the manager ends only when nothing lives.
//   - Every request and every apply is answered exactly once, after the records
//     of what it changed.
//
// # Rooms
//
// event.go and action.go are the vocabulary: facts in, orders out. core.go and
// its neighbours decide: step(now, event) returns actions, without a goroutine,
// a clock, a logger or a system call. loop.go and perform.go carry the actions
// out: one goroutine, one select, one timer, locked to the main thread because
// it forks and reaps. What children print is known at that edge only: there the
// last lines are attached to the records of a crash.
package companion
