// Package restart decides when a child that ended is started again. It is pure
// policy: no clock, no goroutine, no state but a number that the supervisor
// keeps with the child, so that it can be encoded and handed over an exec.
//
// The delay before the n-th consecutive restart is
//
//	min(Initial × 2^(n-1), Max) ± Jitter
//
// so 1 s and 30 s give 1, 2, 4, 8, 16, 30, 30 … s. The doubling itself is
// github.com/cenkalti/backoff's; this package adds what a supervisor needs
// around it: a count instead of an iterator (the n-th delay can be asked for
// after a restart of the supervisor), an injected source of randomness (the
// library draws from the global one), and a bound that holds with jitter too.
//
// Invariants, each of them tested:
//
//   - 0 ≤ delay ≤ max(Max, 0) for every policy, count and random value.
//   - Without jitter the delay never falls as failures grow.
//   - Jitter narrows at Max instead of piling up there: the delay is drawn
//     evenly from [d−Jitter×d, min(d+Jitter×d, Max)], so children that crash
//     together still spread when all of them have reached Max.
package restart
