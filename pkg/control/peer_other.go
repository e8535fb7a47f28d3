//go:build !linux

package control

import (
	"errors"
	"net"
)

func peerOf(net.Conn) (peer, error) {
	return peer{}, errors.New("cannot tell the peer of a unix socket: not supported on this platform")
}
