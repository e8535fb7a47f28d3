// Package chaos does to a gofork under load, at random and at the same time, all
// that may happen to it: processes are killed, stopped and continued, reloads
// are good and broken, it is scaled and upgraded, descriptors and processes run
// out, the disk is full. Meanwhile and at the end it holds gofork to what it
// promises:
//
//   - No request fails, but those that a worker had when it was killed or hung.
//     A connection is kept as long as the server lets it, a request is sent once.
//   - Nothing is lost: every process belongs to the arbiter, the manager, a worker
//     or a companion that the status knows; none is left when gofork has ended.
//   - Nothing is there twice: each instance holds a lock as long as anything of it
//     lives, and no second one ever finds it taken.
//   - Nothing is left unreaped.
//   - Nobody ends who was not made to: each unexpected exit in the log is one that
//     this package caused.
//   - The status, the events and /proc tell the same story whenever it is quiet,
//     and gofork then has as many descriptors, threads and as much memory as the
//     time before.
//
// `make test` runs a minute of it with a fixed seed, `make chaos` as much as
// CHAOS_TIME says with a seed of the moment. CHAOS_SEED repeats the choices of a
// run, though not the moments: those are the machine's. When something fails, the
// last of what was done and logged is printed; CHAOS_LOG names a file for all of it.
//
// What chance would not show has a test of its own, short in `make test` and long
// in `make chaos`:
//
//   - The arbiter is killed: everything ends.
//   - Nothing is started, because of a limit of the user or of a control group:
//     replacements come as soon as they can.
//   - 1,000 or 10,000 respawns: descriptors, threads and memory stay as they were.
//   - A companion writes 100 MB a second, and on a full disk: each line is in the
//     log, or counted as lost.
//   - The clock is set back and forward: no delay changes.
//
// Setting the clock of a machine is nothing for a machine that somebody else uses.
// So a clock is set in the processes of gofork alone, by other code in their vDSO,
// which is known for amd64; with CHAOS_CLOCK=1 it is the machine's.
package chaos
