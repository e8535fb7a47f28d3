package proc

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// memberWatch hears the end of processes that are not children: one pidfd each
// in one epoll set, and one goroutine that sleeps in Go's own poller. A pidfd
// becomes readable when the process ends, whether or not it was reaped.
type memberWatch struct {
	epoll *os.File
	epfd  int // of epoll, for epoll_ctl only
	fds   map[int]int
}

// follow makes the set of followed processes the given one.
func (t *Table) follow(pids map[int]bool) {
	if t.members == nil {
		if len(pids) == 0 {
			return
		}
		if err := t.startMemberWatch(); err != nil {
			return // out of descriptors: the deadlines of the caller still hold
		}
	}
	w := t.members
	for pid, fd := range w.fds {
		if !pids[pid] {
			unix.Close(fd) // which takes it out of the set: nobody else has a duplicate
			delete(w.fds, pid)
		}
	}
	for pid := range pids {
		if _, followed := w.fds[pid]; followed {
			continue
		}
		fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
		if err != nil {
			if err == unix.ESRCH {
				t.notify() // reaped since the pass: another Sweep has to look
			}
			continue
		}
		// One shot: a dead process stays readable and must not wake us twice.
		event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)}
		if unix.EpollCtl(w.epfd, unix.EPOLL_CTL_ADD, fd, &event) != nil {
			unix.Close(fd)
			continue
		}
		w.fds[pid] = fd
	}
}

func (t *Table) startMemberWatch() error {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	// Non-blocking tells os.NewFile that the runtime's poller can wait for it.
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(epfd)
		return err
	}
	epoll := os.NewFile(uintptr(epfd), "pidfds")
	conn, err := epoll.SyscallConn()
	if err != nil {
		epoll.Close()
		return fmt.Errorf("cannot wait for pidfds: %w", err)
	}
	t.members = &memberWatch{epoll: epoll, epfd: epfd, fds: make(map[int]int)}
	t.tasks.Go(func() { // until close
		for conn.Read(func(fd uintptr) bool { return ended(int(fd)) }) == nil {
			t.notify()
		}
	})
	return nil
}

func ended(epfd int) bool {
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(epfd, events[:], 0)
		if !errors.Is(err, syscall.EINTR) {
			return n > 0
		}
	}
}

// close ends the goroutine: its read fails once the file is closed.
func (w *memberWatch) close() {
	w.epoll.Close()
	for _, fd := range w.fds {
		unix.Close(fd)
	}
}
