// Package link is the line between the arbiter and its companion manager: one
// stream socket that carries one message after the other, both ways.
//
//	arbiter                                   manager
//	   │  apply(specs)  stop  act  reopen        │
//	   ├────────────────────────────────────────►│
//	   │  instance  removed  applied  done  event│
//	   │◄────────────────────────────────────────┤
//
// Everything travels in one ordered stream, and that order is the contract:
//
//   - An [Instance] record is sent before the answer ([Done], [Applied]) to the
//     request that caused it, so whoever saw the answer also sees its effect in
//     the arbiter's status.
//   - What one moment of the manager changes and what it says of it are several
//     messages; all but the last have More. Whoever begins to follow the events
//     begins between two moments, so that no event is in the picture already.
//   - The records double as the arbiter's ledger of what the manager has
//     started: when the manager is killed, the arbiter knows each living group
//     and how it is to be stopped.
//   - The end of the stream is the end of the peer. The kernel reports it even
//     after a SIGKILL, so neither side needs a heartbeat.
//
// Neither side ever blocks on the other: [Conn.Send] queues, and one goroutine
// writes. A stopped (SIGSTOP) peer costs memory, not responsiveness, and the memory
// is bounded: output has a window ([LinesWindow]); of 16,384 messages that wait, only
// the newest record of each instance is kept; of the events that come on top the
// first 16,384 are, and the next one says how many are missing ([Event.Lost]).
package link
