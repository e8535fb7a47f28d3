package handoff

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Receiver is the notify socket of a supervisor: the other end of NOTIFY_SOCKET.
//
// The kernel queues about eleven datagrams, then senders block, so one goroutine
// does nothing but read. A loop that handles the exit of a process calls Take
// first: a last READY=1 or STATUS= of that process is either in the queue here or
// still in the kernel's, and Take returns both. The mutex makes "read from the
// kernel and append" one step; without it a message could be in neither place.
type Receiver struct {
	path  string
	bound inode
	file  *os.File
	ready chan struct{}
	done  chan struct{} // closed when the reader has returned

	mu      sync.Mutex
	fd      int // of file; -1 after Close
	queue   []Message
	drops   []Drop
	dropped uint64
	buf     []byte
	oob     []byte
}

// ListenNotify binds the socket at path, or at an abstract "@NAME" when no
// directory can be written. Everybody may send, for children may run as any user;
// the credentials that the kernel attaches say who counts.
func ListenNotify(path string) (*Receiver, error) {
	r, err := listenNotify(path)
	if err != nil {
		return nil, fmt.Errorf("cannot bind the notify socket %s: %w", path, err)
	}
	return r, nil
}

func listenNotify(path string) (*Receiver, error) {
	fd, bound, err := bindUnix(path, unix.SOCK_DGRAM, 0o666)
	if err != nil {
		return nil, err
	}
	r := &Receiver{
		path:  path,
		bound: bound,
		fd:    fd,
		file:  os.NewFile(uintptr(fd), path),
		ready: make(chan struct{}, 1),
		done:  make(chan struct{}),
		buf:   make([]byte, MaxDatagram+1),
		// Room for the credentials and for as many descriptors as can come along
		// (SCM_MAX_FD): the kernel installs what fits, and we have to close it.
		oob: make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(253*4)),
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	if err != nil {
		r.unlink()
		r.file.Close()
		return nil, err
	}
	conn, err := r.file.SyscallConn()
	if err != nil {
		r.unlink()
		r.file.Close()
		return nil, err
	}
	go func() {
		defer close(r.done)
		for conn.Read(func(uintptr) bool { return r.receive() }) == nil {
			select {
			case r.ready <- struct{}{}:
			default: // a Take is due already
			}
		}
	}()
	return r, nil
}

// Path is the value of NOTIFY_SOCKET for children.
func (r *Receiver) Path() string { return r.path }

// Ready gets a value when messages have arrived since the last Take.
func (r *Receiver) Ready() <-chan struct{} { return r.ready }

// Take returns every message that was sent before the call, in the order in which
// the kernel got them. It never blocks.
func (r *Receiver) Take() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drain()
	taken := r.queue
	r.queue = nil
	return taken
}

// Dropped returns the datagrams that were dropped since the last call: how many,
// and the reasons of the first few.
func (r *Receiver) Dropped() (n uint64, first []Drop) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, first = r.dropped, r.drops
	r.dropped, r.drops = 0, nil
	return n, first
}

// Close ends the reader, closes the socket and removes its path, if that still is
// this socket.
func (r *Receiver) Close() error {
	r.mu.Lock()
	if r.fd < 0 {
		r.mu.Unlock()
		return nil
	}
	r.fd = -1 // Take uses it no more: the number is free once the file is closed
	r.mu.Unlock()
	r.unlink() // while the open socket still tells its file from a successor's
	err := r.file.Close()
	<-r.done
	return err
}

func (r *Receiver) unlink() {
	if now, isSocket, err := stat(r.path); r.bound != (inode{}) && err == nil && isSocket && now == r.bound {
		_ = unix.Unlink(r.path) // a stale one is replaced at the next start anyway
	}
}

// receive is the reader's turn: true when there is something for Take.
func (r *Receiver) receive() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.drain() > 0
}

// drain reads until the kernel has no more. The caller holds mu. The bound keeps
// a sender that never pauses from holding the lock for ever.
func (r *Receiver) drain() (received int) {
	for r.fd >= 0 && received < maxQueue {
		n, oobn, flags, _, err := unix.RecvmsgBuffers(r.fd, [][]byte{r.buf}, r.oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return received // EAGAIN
		}
		received++
		r.take(r.buf[:n], r.oob[:oobn], flags)
	}
	return received
}

// take turns one datagram into a message or into a drop.
func (r *Receiver) take(datagram, oob []byte, flags int) {
	// Descriptors are closed at once, whatever the datagram says: that is the
	// answer to BARRIER=1, whose sender waits for the other end to hang up, and
	// what came before it is in the queue by now.
	sender := credentials(oob)
	drop := func(reason string) {
		r.dropped++
		if len(r.drops) < maxDrops {
			pid := 0
			if sender != nil {
				pid = int(sender.Pid)
			}
			r.drops = append(r.drops, Drop{PID: pid, Reason: reason})
		}
	}
	if sender == nil || sender.Pid <= 0 {
		drop("no credentials") // a sender outside of our pid namespace has pid 0
		return
	}
	if flags&unix.MSG_TRUNC != 0 {
		drop(fmt.Sprintf("larger than %d bytes", MaxDatagram))
		return
	}
	state, err := parseState(datagram)
	if err != nil {
		drop(err.Error())
		return
	}
	if len(r.queue) >= maxQueue {
		drop("too many messages wait")
		return
	}
	pgid, err := unix.Getpgid(int(sender.Pid))
	if err != nil {
		pgid = 0
	}
	r.queue = append(r.queue, Message{
		PID:   int(sender.Pid),
		PGID:  pgid,
		UID:   sender.Uid,
		At:    time.Now(),
		State: state,
	})
}

// credentials returns the sender, nil when the kernel named none, and closes
// every descriptor that came along.
func credentials(oob []byte) (sender *unix.Ucred) {
	controls, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, c := range controls {
		if c.Header.Level != unix.SOL_SOCKET {
			continue
		}
		switch c.Header.Type {
		case unix.SCM_CREDENTIALS:
			if cred, err := unix.ParseUnixCredentials(&c); err == nil {
				sender = cred
			}
		case unix.SCM_RIGHTS:
			fds, err := unix.ParseUnixRights(&c)
			if err != nil {
				continue
			}
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
	}
	return sender
}
