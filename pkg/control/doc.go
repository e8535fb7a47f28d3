// Package control is how people and programs talk to a running gofork: the types
// of the API, a server that answers it on a unix socket, and a client.
//
// The server decides nothing. It checks who asks, reads the request, hands it to
// a [Backend] and writes down what that answered. The arbiter is a Backend, and so
// is [Client]: whoever forwards requests to another process uses one as the other.
//
//	peer ── unix socket ── peer check ── route ── Backend ── answer
//	                          │403         │404, 405, 400, 413     │Error, 504
//
// Invariants:
//
//   - A request whose peer is not root, gofork's own user or an allowed one never
//     reaches the Backend.
//   - Nothing that a peer sends is kept beyond its request, and all of it is bounded:
//     connections, headers, bodies, and the time to send them.
//   - Every answer that is not 2xx has an [Error] as its body; /livez and /readyz
//     answer in plain text.
//   - Peers that are refused take no connection from others, and streams leave some
//     of them to requests.
//   - A stream that the server ends is sent to its end, what had happened by then
//     included, unless its peer does not take it within a second: then it is cut, so
//     that a part is not taken for the whole.
//   - When [Serve] has returned nothing of it is running.
package control
