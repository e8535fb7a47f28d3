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
// `make test` runs 45 seconds of it with a fixed seed, `make chaos` as much as
// CHAOS_TIME says with a seed of the moment. CHAOS_SEED repeats the choices of a
// run, though not the moments: those are the machine's. When something fails, the
// last of what was done and logged is printed.
package chaos
