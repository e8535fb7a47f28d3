//go:build !linux

package handoff

import "errors"

// Receiver is the notify socket of a supervisor. Without the credentials of
// Linux no message could be attributed, so there is none on this platform.
type Receiver struct{}

// ListenNotify always fails here.
func ListenNotify(path string) (*Receiver, error) {
	return nil, errors.New("cannot bind the notify socket " + path + ": not supported on this platform")
}

// Path is the value of NOTIFY_SOCKET for children.
func (*Receiver) Path() string { return "" }

// Ready gets a value when messages have arrived since the last Take.
func (*Receiver) Ready() <-chan struct{} { return nil }

// Take returns every message that was sent before the call.
func (*Receiver) Take() []Message { return nil }

// Dropped returns the datagrams that were dropped since the last call.
func (*Receiver) Dropped() (n uint64, first []Drop) { return 0, nil }

// Close ends the reader and closes the socket.
func (*Receiver) Close() error { return nil }
