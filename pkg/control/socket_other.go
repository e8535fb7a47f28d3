//go:build !linux

package control

import (
	"errors"
	"fmt"
	"net"
)

var errNoSocket = errors.New("control sockets are not supported on this platform")

// Socket is a listening unix socket; on this platform there is none.
type Socket struct{}

// Listen is not supported on this platform.
func Listen(path string, _ ListenOptions) (*Socket, error) {
	return nil, fmt.Errorf("cannot listen on %s: %w", path, errNoSocket)
}

// Path is where the socket is.
func (*Socket) Path() string { return "" }

// FD is the descriptor.
func (*Socket) FD() int { return -1 }

// Listener is not supported on this platform.
func (*Socket) Listener() (net.Listener, error) { return nil, errNoSocket }

// Close closes the descriptor.
func (*Socket) Close() error { return nil }

// Unlink removes the file.
func (*Socket) Unlink() error { return nil }

// Rename is not supported on this platform.
func (*Socket) Rename(string) error { return errNoSocket }

// dialUnix connects to the socket at path.
func dialUnix(path string, connect func(address string) (net.Conn, error)) (net.Conn, error) {
	return connect(path)
}
