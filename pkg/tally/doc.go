// Package tally counts the requests of a worker in a page of memory that its
// supervisor shares: the worker adds, the supervisor reads, and neither ever waits
// for, wakes or asks the other. What was counted outlives the worker, however it
// ended.
//
// The supervisor makes a page for each attempt ([New]) and passes its descriptor
// on; the worker maps it ([Open]). Pages are sealed against a change of their size,
// so that no worker can make the supervisor read beyond the end (SIGBUS): all that
// a faulty worker can do is count wrongly.
//
// Invariants:
//   - Every word is written with atomic adds by one process and read with atomic
//     loads by another.
//   - A request is begun before it is answered, and read in the other order: what
//     is in flight is never negative.
package tally
