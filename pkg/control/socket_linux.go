package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Socket is a listening unix socket as a raw descriptor, for an owner that keeps
// it over everything that answers on it.
type Socket struct {
	path string
	fd   int
	dev  uint64
	ino  uint64
}

// backlog is how many connections may wait for one of the server's slots, less where
// net.core.somaxconn is. Clients that do not fit try again.
const backlog = 512

// Listen makes the socket at an absolute path.
//
// What is there already decides: nothing, or a socket where nobody answers any
// more, is replaced; a living one is refused with an [*InUseError]; anything else,
// a symbolic link included, is an error and left alone. Two gofork that start at
// the same moment cannot both win: they take turns by a lock on the directory.
//
// The path may be longer than the 107 bytes that an address holds; its last
// element may not.
func Listen(path string, o ListenOptions) (*Socket, error) {
	s, err := listen(path, o)
	var inUse *InUseError
	if err != nil && !errors.As(err, &inUse) {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return s, err
}

func listen(path string, o ListenOptions) (*Socket, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("the path must be absolute")
	}
	dir, err := openDir(filepath.Dir(path), o.DirMode)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(dir.fd) }()
	if err := dir.lock(); err != nil {
		return nil, err
	}
	base := filepath.Base(path)
	if err := dir.clear(base, path); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &Socket{path: path, fd: fd}
	if err := s.open(dir, o.Mode); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return s, nil
}

// open binds, sets the mode, listens: in this order nobody can connect while the
// mode is still the umask's.
func (s *Socket) open(dir *directory, mode fs.FileMode) error {
	base := filepath.Base(s.path)
	address := s.path // if it fits: it is what ss(8) and lsof(8) show
	if len(address) > maxAddress {
		var err error
		if address, err = dir.address(base); err != nil {
			return err
		}
	}
	if err := unix.Bind(s.fd, &unix.SockaddrUnix{Name: address}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	var st unix.Stat_t
	err := dir.chmodSocket(base, mode, &st)
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(s.fd, backlog))
	}
	if err != nil {
		_ = unix.Unlinkat(dir.fd, base, 0)
		return err
	}
	s.dev, s.ino = st.Dev, st.Ino
	return nil
}

// Path is where the socket is.
func (s *Socket) Path() string { return s.path }

// FD is the descriptor, which stays the Socket's own.
func (s *Socket) FD() int { return s.fd }

// Listener returns a listener on a duplicate: closing it leaves the Socket open
// and the file where it is.
func (s *Socket) Listener() (net.Listener, error) {
	fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("cannot duplicate the socket %s: %w", s.path, err)
	}
	f := os.NewFile(uintptr(fd), s.path)
	defer func() { _ = f.Close() }() // FileListener made one more
	ln, err := net.FileListener(f)   // which, unlike net.Listen's, does not unlink on Close
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", s.path, err)
	}
	return ln, nil
}

// Close closes the descriptor; the file stays.
func (s *Socket) Close() error {
	if s.fd < 0 {
		return nil
	}
	fd := s.fd
	s.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

// Unlink removes the file, unless something else has taken its place.
func (s *Socket) Unlink() error {
	if strings.HasPrefix(s.path, "@") {
		return nil // abstract: it goes with its last descriptor
	}
	var st unix.Stat_t
	err := unix.Lstat(s.path, &st)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (st.Dev != s.dev || st.Ino != s.ino) {
		return nil
	}
	if err == nil {
		err = unix.Unlink(s.path)
	}
	if err != nil {
		return fmt.Errorf("cannot remove the socket %s: %w", s.path, err)
	}
	return nil
}

// Rename moves the file, as at the promotion of a new arbiter: what was at the new
// path is replaced.
func (s *Socket) Rename(path string) error {
	if err := os.Rename(s.path, path); err != nil {
		return fmt.Errorf("cannot move the socket: %w", err)
	}
	s.path = path
	return nil
}

// directory is an open directory: what is done through it is done there, whatever
// its path leads to by then.
type directory struct {
	fd     int
	shared bool // everybody may make files in it, as in /tmp
}

// openDir opens the socket's directory, makes it when it is missing, and refuses
// one in which somebody else could replace the socket.
func openDir(path string, mode fs.FileMode) (*directory, error) {
	if err := makeDir(path, mode); err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	d := &directory{fd: fd, shared: st.Mode&0o002 != 0}
	switch {
	case d.shared && st.Mode&unix.S_ISVTX == 0:
		err = fmt.Errorf("everybody may replace files in %s", path)
	case !d.shared && st.Uid != 0 && st.Uid != uint32(os.Geteuid()):
		err = fmt.Errorf("%s belongs to another user (%d)", path, st.Uid)
	case !d.shared && st.Uid == uint32(os.Geteuid()) && uint32(mode.Perm())&^st.Mode != 0:
		err = os.NewSyscallError("fchmod", unix.Fchmod(fd, st.Mode&0o7777|uint32(mode.Perm())))
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return d, nil
}

// makeDir makes the directory with this mode whatever the umask is, and what is
// missing above it as usual.
func makeDir(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode.Perm())
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		err = os.Mkdir(path, mode.Perm())
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // openDir widens it if it must, which also undoes the umask
	}
	return err
}

// lock makes others that want a socket here wait until the directory is closed. In
// a shared one anybody could hold the lock for ever, so there it is not asked for.
func (d *directory) lock() error {
	if d.shared {
		return nil
	}
	for {
		err := unix.Flock(d.fd, unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}

// clear makes way for a new socket, if what is there may go.
func (d *directory) clear(base, path string) error {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return os.NewSyscallError("fstatat", err)
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return errors.New("it is a symbolic link")
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return errors.New("it is there and not a socket")
	}
	address, err := d.address(base)
	if err != nil {
		return err
	}
	alive, pid, err := probe(address)
	if err != nil {
		return err
	}
	if alive {
		return &InUseError{Path: path, PID: pid}
	}
	if err := unix.Unlinkat(d.fd, base, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the stale socket: %w", err)
	}
	return nil
}

// probe says whether somebody listens, and who did when it began to.
func probe(address string) (alive bool, pid int, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false, 0, os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: address})
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return false, 0, nil
	case errors.Is(err, unix.EAGAIN): // its queue is full
		return true, 0, nil
	case err != nil:
		return false, 0, os.NewSyscallError("connect", err)
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return true, 0, nil // alive all the same
	}
	return true, int(cred.Pid), nil
}

// maxAddress is how many bytes of a path fit into an address (unix(7), sun_path
// without its final NUL).
const maxAddress = 107

// address is how bind and connect reach a file here: through the open directory,
// which is shorter than most paths.
func (d *directory) address(base string) (string, error) {
	a := "/proc/self/fd/" + strconv.Itoa(d.fd) + "/" + base
	if len(a) > maxAddress {
		return "", fmt.Errorf("its name is %d bytes long, at most %d are possible", len(base), maxAddress-(len(a)-len(base)))
	}
	return a, nil
}

// chmodSocket sets the mode of the socket and of nothing else: it opens the file
// without following a link, looks at it, and changes that very file.
func (d *directory) chmodSocket(base string, mode fs.FileMode, st *unix.Stat_t) error {
	fd, err := unix.Openat(d.fd, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Fstat(fd, st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("somebody replaced it")
	}
	return os.NewSyscallError("chmod", unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), uint32(mode.Perm())))
}

// dialUnix connects to the socket at path, however long that is.
func dialUnix(path string, connect func(address string) (net.Conn, error)) (net.Conn, error) {
	if len(path) <= maxAddress {
		return connect(path)
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	d := &directory{fd: fd}
	defer func() { _ = unix.Close(fd) }()
	address, err := d.address(filepath.Base(path))
	if err != nil {
		return nil, err
	}
	return connect(address)
}
