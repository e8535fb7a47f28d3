//go:build !linux

package control

import (
	"errors"
	"net"
)

func peerOf(net.Conn) (Peer, error) {
	return Peer{}, errors.New("cannot tell the peer of a unix socket: not supported on this platform")
}
