package control

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel who opened the other end of a unix socket: the process
// and user at the moment of its connect (unix(7), SO_PEERCRED), which the peer
// cannot choose.
func peerOf(c net.Conn) (peer, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return peer{}, fmt.Errorf("cannot tell the peer of a %T: not a socket", c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return peer{}, fmt.Errorf("cannot tell the peer: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return peer{}, fmt.Errorf("cannot tell the peer: %w", err)
	}
	if credErr != nil {
		return peer{}, fmt.Errorf("cannot tell the peer: %w", credErr)
	}
	return peer{PID: int(cred.Pid), UID: cred.Uid}, nil
}
