package handoff

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// notifyTimeout bounds a Notify to a supervisor that does not read, which is to
// be feared of a stopped one only: its queue takes few datagrams.
const notifyTimeout = 5 * time.Second

// Notify sends a state such as "READY=1" to the socket of NOTIFY_SOCKET, a path
// or an abstract "@NAME"; several assignments are separated by newlines.
func Notify(socketPath, state string) error {
	return NotifyWithin(socketPath, state, notifyTimeout)
}

// NotifyWithin is Notify for who has something better to do than to wait, for
// longer than patience, until there is room in the supervisor's queue.
func NotifyWithin(socketPath, state string, patience time.Duration) error {
	if err := notify(socketPath, state, patience); err != nil {
		return fmt.Errorf("cannot notify %s: %w", socketPath, err)
	}
	return nil
}

// NotifyRead is Notify for a process that ends next: it returns when the
// supervisor has read the message. A sender that has ended is in no process group
// any more, so that a READY=1 of its worker's could not be told from a stranger's.
// The way is that of sd_notify_barrier(3): a pipe whose other end the reader closes.
func NotifyRead(socketPath, state string) error {
	if err := notify(socketPath, state, notifyTimeout); err != nil {
		return fmt.Errorf("cannot notify %s: %w", socketPath, err)
	}
	if err := barrier(socketPath); err != nil {
		return fmt.Errorf("cannot notify %s: %w", socketPath, err)
	}
	return nil
}

func barrier(socketPath string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	deadline := time.Now().Add(notifyTimeout)
	err = sendDescriptor(socketPath, w, deadline)
	if closing := w.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	if err := r.SetReadDeadline(deadline); err != nil {
		return err
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the message was not read within %s", notifyTimeout)
	}
	return nil
}

func sendDescriptor(socketPath string, f *os.File, deadline time.Time) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socketPath, Net: "unixgram"})
	if err != nil {
		return plain(err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	// Not WriteMsgUnix, which wants the address again and then refuses it.
	socket, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	file, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr, fileErr error
	err = socket.Write(func(to uintptr) (sent bool) {
		fileErr = file.Control(func(fd uintptr) {
			sendErr = unix.Sendmsg(int(to), []byte("BARRIER=1"), unix.UnixRights(int(fd)), nil, 0)
		})
		return fileErr != nil || !errors.Is(sendErr, unix.EAGAIN)
	})
	return errors.Join(err, fileErr, sendErr)
}

func notify(socketPath, state string, patience time.Duration) error {
	if _, err := parseState([]byte(state)); err != nil {
		return fmt.Errorf("%.64q: %w", state, err)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socketPath, Net: "unixgram"})
	if err != nil {
		return plain(err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(state)); err != nil {
		return plain(err)
	}
	return nil
}
