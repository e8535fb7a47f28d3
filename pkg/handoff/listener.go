package handoff

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener is a listening stream socket as a raw descriptor, close-on-exec and
// non-blocking. Whoever made it closes it. It is not safe for concurrent use.
type Listener struct {
	fd   int
	name string // of LISTEN_FDNAMES or GOFORK_FD; what Listen was asked for
	addr string
	path string // of a unix socket that is ours to unlink
	file inode  // what path was when it was bound or taken over
}

// inode identifies a file whatever its name, as long as somebody has it open:
// file systems use the numbers of deleted files again at once.
type inode struct {
	dev, ino uint64
}

// Options are the settings of new sockets; inherited ones keep what they have,
// but for the backlog.
type Options struct {
	Backlog   int // listen(2); 0 = the system's maximum
	ReusePort bool
	UnixMode  fs.FileMode // permissions of a unix socket's file; 0 = as the umask has it
}

// Listen opens "HOST:PORT", "unix:PATH" (abstract: "unix:@NAME") or "fd:N", a
// duplicate of an inherited descriptor. ctx bounds the lookup of a host name.
// A unix socket that nobody listens on any more is replaced, anything else at
// PATH is left alone. Errors read "cannot bind ADDR: …" and wrap the errno:
// [syscall.EADDRINUSE] when the address is taken.
func Listen(ctx context.Context, addr string, o Options) (*Listener, error) {
	l, err := listen(ctx, addr, o)
	if err != nil {
		return nil, fmt.Errorf("cannot bind %s: %w", addr, err)
	}
	return l, nil
}

func listen(ctx context.Context, addr string, o Options) (*Listener, error) {
	if o.Backlog <= 0 {
		o.Backlog = 1<<16 - 1 // the kernel caps it at net.core.somaxconn
	}
	var (
		fd   int
		file inode
		err  error
	)
	path, isUnix := strings.CutPrefix(addr, "unix:")
	number, isFD := strings.CutPrefix(addr, "fd:")
	switch {
	case isUnix:
		fd, file, err = listenUnix(path, o)
	case isFD:
		fd, err = duplicate(number)
	default:
		fd, err = listenTCP(ctx, addr, o)
	}
	if err != nil {
		return nil, err
	}
	// As systemd hands them over unless it is told otherwise (NonBlocking= of
	// systemd.service(5)): servers that wait in accept(2) need it, all others set the
	// flag themselves. It is the socket's, so that of another process stays as it is.
	if !isFD {
		if err := unix.SetNonblock(fd, false); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	// Again, for package net listens with the system's maximum, and an inherited
	// socket with what its maker chose: on a listening socket listen(2) only sets
	// the length of the queue.
	if err := unix.Listen(fd, o.Backlog); err != nil {
		unix.Close(fd)
		return nil, err
	}
	l := &Listener{fd: fd, name: addr}
	if l.addr, _, err = describe(fd); err != nil {
		l.Close()
		return nil, err
	}
	if isUnix && file != (inode{}) {
		l.path, l.file = path, file
	}
	return l, nil
}

// listenTCP leaves names, zones and dual stack to package net.
func listenTCP(ctx context.Context, addr string, o Options) (int, error) {
	config := net.ListenConfig{
		Control: func(_, _ string, c syscall.RawConn) error {
			if !o.ReusePort {
				return nil
			}
			var err error
			if controlErr := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}); controlErr != nil {
				return controlErr
			}
			return os.NewSyscallError("setsockopt SO_REUSEPORT", err)
		},
	}
	// A program in any language gets this socket: plain TCP, which it expects.
	config.SetMultipathTCP(false)
	listener, err := config.Listen(ctx, TCPNetwork(addr), addr)
	if err != nil {
		return -1, plain(err)
	}
	defer listener.Close() // the duplicate goes on listening
	conn, err := listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var dupErr error
	if err := conn.Control(func(own uintptr) { fd, dupErr = dup(int(own)) }); err != nil {
		return -1, err
	}
	return fd, dupErr
}

// TCPNetwork is what package net calls the network of a TCP address to listen on: for
// 0.0.0.0 on "tcp" it would listen on every IPv6 address, too.
func TCPNetwork(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if ip, notIP := netip.ParseAddr(host); err == nil && notIP == nil && ip.Is4() {
		return "tcp4"
	}
	return "tcp"
}

// plain reduces what package net wraps around an errno; "cannot bind" says the rest.
func plain(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// duplicate takes over descriptor N, which stays open for whoever gave it, but is
// no longer inherited by children.
func duplicate(number string) (int, error) {
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 {
		return -1, fmt.Errorf("descriptor %q: not a number", number)
	}
	if err := checkListening(n); err != nil {
		return -1, err
	}
	fd, err := dup(n)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(n)
	return fd, nil
}

// dup stays above the standard streams, should one of them be closed.
func dup(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
}

// checkListening says what is wrong with a descriptor that should be a listener.
func checkListening(fd int) error {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	switch {
	case errors.Is(err, unix.EBADF):
		return fmt.Errorf("descriptor %d is not open", fd)
	case errors.Is(err, unix.ENOTSOCK):
		return fmt.Errorf("descriptor %d is not a socket", fd)
	case err != nil:
		return fmt.Errorf("descriptor %d: %w", fd, err)
	case kind != unix.SOCK_STREAM:
		return fmt.Errorf("descriptor %d is not a stream socket", fd)
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if listening == 0 {
		return fmt.Errorf("descriptor %d is not listening", fd)
	}
	return nil
}

// describe returns the address of a socket as people read it, and its path when
// it has one in the file system.
func describe(fd int) (addr, path string, err error) {
	sockaddr, err := unix.Getsockname(fd)
	if err != nil {
		return "", "", err
	}
	switch a := sockaddr.(type) {
	case *unix.SockaddrInet4:
		return "tcp://" + net.JoinHostPort(net.IP(a.Addr[:]).String(), strconv.Itoa(a.Port)), "", nil
	case *unix.SockaddrInet6:
		host := net.IP(a.Addr[:]).String()
		if a.ZoneId != 0 {
			zone := strconv.Itoa(int(a.ZoneId))
			if link, err := net.InterfaceByIndex(int(a.ZoneId)); err == nil {
				zone = link.Name
			}
			host += "%" + zone
		}
		return "tcp://" + net.JoinHostPort(host, strconv.Itoa(a.Port)), "", nil
	case *unix.SockaddrUnix:
		if a.Name == "" || a.Name[0] == '@' {
			return "unix://" + a.Name, "", nil
		}
		return "unix://" + a.Name, a.Name, nil
	default:
		return "", "", fmt.Errorf("descriptor %d: neither TCP nor unix", fd)
	}
}

// FD returns the descriptor, which stays the listener's.
func (l *Listener) FD() int { return l.fd }

// Name is what the socket was asked for by: the address given to Listen, or the
// name that came with an inherited descriptor.
func (l *Listener) Name() string { return l.name }

// Addr is where it listens: "tcp://127.0.0.1:8000" with the real port,
// "unix:///run/app.sock".
func (l *Listener) Addr() string { return l.addr }

// Close closes this descriptor; duplicates in other processes go on listening,
// and the path of a unix socket stays.
func (l *Listener) Close() error {
	if l.fd < 0 {
		return nil
	}
	fd := l.fd
	l.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

// Unlink removes the path of a unix socket that gofork bound, if it still is that
// socket; a successor may have put its own there. It does nothing for others. It
// must come before Close: an open socket keeps its inode number from being given
// to the successor's file, which is how the two are told apart.
func (l *Listener) Unlink() error {
	if l.path == "" {
		return nil
	}
	if l.fd < 0 {
		return fmt.Errorf("cannot remove %s: %w", l.path, net.ErrClosed)
	}
	if now, isSocket, err := stat(l.path); err != nil || !isSocket || now != l.file {
		return nil //nolint:nilerr // it is not there, or not ours: there is nothing to remove
	}
	if err := unix.Unlink(l.path); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove %s: %w", l.path, err)
	}
	return nil
}

// Accept returns a [net.Listener] on a duplicate of the descriptor, for a worker
// in Go. Closing it does not close l and does not remove the path.
func (l *Listener) Accept() (net.Listener, error) {
	fd, err := dup(l.fd)
	if err != nil {
		return nil, fmt.Errorf("cannot accept on %s: %w", l.addr, err)
	}
	file := os.NewFile(uintptr(fd), l.addr)
	defer file.Close() // FileListener makes a duplicate of its own
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("cannot accept on %s: %w", l.addr, err)
	}
	if u, ok := listener.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return listener, nil
}
