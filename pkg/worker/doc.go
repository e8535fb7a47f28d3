// Package worker is what runs inside a Go handler worker: it serves HTTP on the
// sockets that the process inherited, tells its supervisor that it is ready and
// alive, and drains without losing a request.
//
// [Run] is the whole life of such a process:
//
//	         sockets, TLS, factory ok          stop signal, ctx done
//	booting ──────────────────────────▶ serving ───────────────────▶ draining ──▶ exit 0
//	   │                                   │                            │
//	   │ set-up failed: exit 3             │ SIGINT, SIGQUIT            │ SIGINT, SIGQUIT
//	   │ factory failed: exit 4            ▼                            ▼
//	   │ stop signal: exit 0            exit 0                       exit 0
//
// READY=1 is sent on entering serving, when the accept loop of every socket
// runs; WATCHDOG=1 from right before it until the end; STOPPING=1 on entering draining.
//
// # Drain
//
// Reload, recycling, scaling down and stopping are one path:
//
//  1. Connections that wait in the kernel's queue are accepted, then this
//     process's descriptor of the socket is closed. It is never shut down:
//     shutdown(2) would end the socket for the workers that share it.
//  2. Every answer that begins from now on says "Connection: close", no matter
//     when its request came. A client learns from an answer, never from a broken
//     connection. A handler learns from [Draining]. HTTP/2 connections get a GOAWAY
//     that asks for no more requests and still serves those that come.
//  3. A connection that waits for a request is closed when it has waited for
//     the drain delay: counted from the stop signal, or from its last answer if
//     that came later and did not yet say that the connection closes. An HTTP/2
//     connection then gets the GOAWAY that names its last request; sooner, when
//     all HTTP/2 clients have heard the first one.
//  4. Running requests have until the graceful timeout.
//
// The process ends as soon as no connection is left, whichever step it is in.
//
// Invariants:
//   - A connection from which a byte of a request was read is closed by the
//     server after the answer, never by the drain.
//   - The drain looks into the socket a last time before it closes a waiting
//     connection. What is left is the time that a request needs on the wire;
//     HTTP/1.1 has no answer to that but a drain delay above the clients' pauses.
//   - What is not configured costs a comparison: without an access record and a
//     request timeout no HTTP/1 request allocates here. The one ResponseWriter
//     between the server's and the handler's, which the drain needs, is a part
//     of the connection.
package worker
