// Package load asks an HTTP server many times and keeps count: as fast as some
// connections can, or at a steady rate.
//
// It is stricter than a browser: a connection is kept as long as the server lets
// it (no "Connection: close"), and a request is sent once. A connection that
// ends without an answer is a failed request, so that what a server loses at a
// reload shows. At a steady rate a request's latency counts from the moment when
// it was due, so that a server which stands still delays all that would have
// come.
package load
