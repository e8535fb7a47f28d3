// Package cli is the gofork command line, and what a Go program embeds to be a
// gofork of its own: an [App] with the handlers and companion functions that are
// compiled into it.
//
// Most commands are clients: they find the control socket of a running gofork, ask
// for one thing, print the answer and end. "serve", "check", "init", "import",
// "config schema" and "version" need no running gofork.
//
// Invariants:
//
//   - What was asked for goes to standard output, everything else to standard error;
//     with --json standard output is JSON and nothing else.
//   - The exit code says what happened without reading any text, see [ExitOK] and
//     those after it.
//   - Only serve starts processes; only serve and init write files, and init only one
//     that is not there.
package cli
