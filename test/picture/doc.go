// Command picture draws docs/reload.svg: the latency of every request while a
// real server, two workers of Node.js under gofork, is reloaded three times and
// once with a release that does not start. `make picture` runs it.
//
// 25 clients keep their connections as long as the server lets them, send 500
// requests a second together, and send none twice: a connection that ends
// without an answer is a failed request, drawn red and counted in the caption.
// Latency counts from the moment when a request was due, so that a server that
// stands still shows in every request that would have come.
//
// The picture is made of the measured points alone. A run that loses requests is
// drawn like any other.
package main
