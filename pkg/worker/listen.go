package worker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/handoff"
)

const (
	// releaseWait bounds how long a draining worker goes on accepting: under a
	// flood the queue is never seen empty, and others hold the socket anyway.
	releaseWait = 250 * time.Millisecond
	// stolenWait is how long an accept waits for a connection that was in the
	// queue and that another holder of the socket took first.
	stolenWait = 5 * time.Millisecond
)

// inheritedListeners turns the descriptors that LISTEN_FDS counts into
// listeners and removes LISTEN_* from the environment, so that no child of the
// application takes them for its own.
func inheritedListeners() ([]net.Listener, error) {
	text := os.Getenv("LISTEN_FDS")
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1024 {
		return nil, fmt.Errorf("cannot take inherited sockets: LISTEN_FDS %q: must be a number from 1 to 1024", text)
	}
	for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	sockets, err := handoff.Inherited(n)
	if err != nil {
		return nil, err
	}
	var listeners []net.Listener
	for _, s := range sockets {
		l, err := s.Accept() // on a duplicate: the inherited one is not needed
		_ = s.Close()
		if err != nil {
			closeAll(listeners)
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// listener hands connections to the server, each as a *conn that the table
// knows, and lets go of its socket without losing what the kernel has queued.
type listener struct {
	net.Listener
	table     *connTable
	proxy     *proxyPolicy // nil: no PROXY protocol
	first     sync.Once
	accepting func() // called when Accept is first called
	releasing atomic.Bool
	until     time.Time // end of releasing; set before releasing
}

// Accept returns net.ErrClosed once the listener is released.
func (l *listener) Accept() (net.Conn, error) {
	l.first.Do(l.accepting)
	c, err := l.accept()
	if err != nil {
		return nil, err
	}
	return l.table.add(c, l.proxy), nil
}

func (l *listener) accept() (net.Conn, error) {
	if !l.releasing.Load() {
		c, err := l.Listener.Accept()
		if err == nil || !l.releasing.Load() || !isTimeout(err) {
			return c, err
		}
	}
	d, ok := l.Listener.(deadliner)
	if !ok {
		return nil, net.ErrClosed
	}
	for time.Now().Before(l.until) && hasQueued(l.Listener) {
		if err := d.SetDeadline(time.Now().Add(stolenWait)); err != nil {
			return nil, err
		}
		c, err := l.Listener.Accept()
		if err == nil || !isTimeout(err) {
			return c, err
		}
	}
	return nil, net.ErrClosed
}

// release makes Accept return what is queued and then net.ErrClosed, on which
// the server closes the listener. Called once.
func (l *listener) release() {
	l.until = time.Now().Add(releaseWait)
	l.releasing.Store(true)
	// Only to wake an Accept that waits. When it sets a deadline of its own at
	// the same moment and loses, it times out at once and looks again.
	if d, ok := l.Listener.(deadliner); ok {
		_ = d.SetDeadline(time.Unix(1, 0))
		return
	}
	_ = l.Listener.Close()
}

type deadliner interface{ SetDeadline(time.Time) error }

// hasQueued reports whether an accept on the socket would not block.
func hasQueued(l net.Listener) bool {
	sc, ok := l.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	queued := false
	_ = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(p, 0)
			if err != unix.EINTR {
				queued = n > 0 && p[0].Revents&unix.POLLIN != 0
				return
			}
		}
	})
	return queued
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
