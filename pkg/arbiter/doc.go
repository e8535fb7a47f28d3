// Package arbiter is the master process: it keeps N workers alive on shared
// listening sockets and feeds one companion manager.
//
// # A worker, which is one attempt of a slot
//
//	            READY=1, or up for ready_after
//	booting ────────────────────────────────► ready
//	  │  │                                    │  │
//	  │  │ boot_timeout: SIGKILL              │  │ heartbeat silent for timeout: SIGABRT
//	  │  └──────────────┐                     │  └────────► aborting
//	  │ stop signal     ▼                     │ stop signal     │ abort_grace: SIGKILL
//	  ├─────────────► killing ◄───────────────┼─────────────────┘
//	  │                 ▲ graceful_timeout:   │
//	  └───────────► draining ◄────────────────┘
//	                    SIGKILL
//
//	Every phase ends with the exit of the process; a slot that is wanted then
//	starts its next attempt, at once or after a backoff. Members of its process
//	group that outlive it get the stop signal, and SIGKILL after graceful_timeout.
//
// # The manager
//
//	        its first message            stop            exit
//	starting ────────────────► running ───────► stopping ─────► stopped
//	   ▲  │ exit                  │ exit           │ window: SIGKILL
//	   │  └──────► backoff ◄──────┘                ▼
//	   └─────────────┘                          killing
//	     delay over and every companion that
//	     the dead manager left has ended
//
// # The whole
//
//	starting ──► running ──► stopping ──► finished
//
// # Invariants
//
//   - The arbiter never starts a companion, and stops one only when its manager
//     is dead.
//   - A manager starts only when nothing of the companions of the one before
//     lives: two of one instance cannot be.
//   - A worker gets one stop signal, and SIGKILL only after its window.
//   - A fault of workers never reaches the manager, and the other way round;
//     only a first generation that cannot boot, and an essential companion's
//     end, end the whole.
//   - A phase has one deadline, and leaving the phase clears it.
//   - After finish nothing that was started lives.
//
// The rooms are those of package companion: event.go and action.go are the
// vocabulary, core.go and its neighbours decide, loop.go and perform.go act.
package arbiter
