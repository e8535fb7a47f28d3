// Package proctest simulates the operating system for a supervisor's loop.
//
// A [Fake] is a proc.System whose children are scripts: they live for a while,
// react to signals or ignore them, leave members of their group behind, or cannot
// be started. Its time is that of package time, so inside a synctest bubble it is
// virtual and a test can look one nanosecond before a deadline and at it. Every
// Start and signal is recorded with its time.
//
// The rules of the real system hold: an exit is seen by Sweep only, a signal to
// what Sweep has reaped is proc.ErrGone, SIGKILL is never ignored, a group ends
// with its last member, and pids are never used twice.
package proctest
