// Package handoff is what passes between gofork's processes, and between gofork
// and systemd: listening sockets by descriptor number, notify datagrams, and the
// environment variables that announce both.
//
//	systemd ──LISTEN_FDS──▶ arbiter ──LISTEN_FDS──▶ worker     sd_listen_fds(3)
//	old arbiter ──GOFORK_FD──▶ new arbiter                     hot upgrade
//	worker, companion ──NOTIFY_SOCKET──▶ arbiter, manager      sd_notify(3)
//
// # Invariants
//
//   - A [Listener] is one raw descriptor, close-on-exec, that its holder closes. It
//     is no os.File: a finalizer must not close a shared socket. Sockets that are
//     made here are blocking, as systemd's are. Who serves may make one non-blocking;
//     nobody makes it blocking again, for another may be about to accept. Nothing
//     here calls shutdown(2), which would end it for every process that has it.
//   - Close never removes the path of a unix socket, only Unlink does, and only
//     while the path still is the socket that was bound.
//   - What arrives on a notify socket counts for the process that the kernel says
//     has sent it. What is malformed is dropped with a reason; descriptors that
//     come along are closed.
package handoff
