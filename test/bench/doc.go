// Command bench measures what gofork costs and prints it as a table: for each
// figure the median, the spread of the rounds, the ratio to a floor that was
// measured in the same rounds, and the goal with whether it is met. `make bench`
// runs it.
//
// The floor of starting, stopping and replacing is the program floor: fork, exec,
// wait4 and nothing else. The floor of serving is plain net/http. Supervisors
// that are found on PATH (supervisord, runit's runsvdir, s6-svscan) and application
// servers (gunicorn, uwsgi, puma) are measured beside in the same rounds; of a
// missing one a line says that it was left out.
//
// Rounds are interleaved: each measures every subject once, so that a busy minute
// of the machine hits all of them. What a companion costs is measured with a
// child that does nothing but say when it was executed (testdata/child.c).
//
// A figure that cannot be taken is a line of text, never a failure: a benchmark
// says how it is, not whether that is allowed.
package main
