package handoff

import (
	"fmt"
	"net"
	"time"
)

// notifyTimeout bounds a Notify to a supervisor that does not read, which is to
// be feared of a stopped one only: its queue takes few datagrams.
const notifyTimeout = 5 * time.Second

// Notify sends a state such as "READY=1" to the socket of NOTIFY_SOCKET, a path
// or an abstract "@NAME"; several assignments are separated by newlines.
func Notify(socketPath, state string) error {
	if err := notify(socketPath, state); err != nil {
		return fmt.Errorf("cannot notify %s: %w", socketPath, err)
	}
	return nil
}

func notify(socketPath, state string) error {
	if _, err := parseState([]byte(state)); err != nil {
		return fmt.Errorf("%.64q: %w", state, err)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socketPath, Net: "unixgram"})
	if err != nil {
		return plain(err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(state)); err != nil {
		return plain(err)
	}
	return nil
}
