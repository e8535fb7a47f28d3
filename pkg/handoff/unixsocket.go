package handoff

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// listenUnix binds by hand: package net would unlink the path on Close, and
// cannot set the mode before anybody may connect.
func listenUnix(path string, o Options) (fd int, file inode, err error) {
	fd, file, err = bindUnix(path, unix.SOCK_STREAM, o.UnixMode)
	if err != nil {
		return -1, inode{}, err
	}
	if err := unix.Listen(fd, o.Backlog); err != nil {
		unix.Close(fd)
		if file != (inode{}) {
			_ = unix.Unlink(path) // ours, and nobody else's yet
		}
		return -1, inode{}, err
	}
	return fd, file, nil
}

// bindUnix returns a bound socket and the identity of its file; the zero inode
// when the name is abstract.
func bindUnix(path string, kind int, mode fs.FileMode) (int, inode, error) {
	if path == "" || path == "@" {
		return -1, inode{}, errors.New("empty socket path")
	}
	// sun_path with its final NUL; bind would only say "invalid argument".
	if limit := len(unix.RawSockaddrUnix{}.Path) - 1; len(path) > limit {
		return -1, inode{}, fmt.Errorf("socket path is %d bytes long, the limit is %d", len(path), limit)
	}
	fd, err := socket(unix.AF_UNIX, kind)
	if err != nil {
		return -1, inode{}, err
	}
	abstract := path[0] == '@'
	if mode != 0 && !abstract {
		// On Linux bind takes the mode from the socket, less the umask, so that the
		// file is at no time more open than it shall be.
		_ = unix.Fchmod(fd, uint32(mode.Perm()))
	}
	address := &unix.SockaddrUnix{Name: path}
	err = unix.Bind(fd, address)
	if errors.Is(err, unix.EADDRINUSE) && !abstract {
		if err = removeStale(path, kind); err == nil {
			err = unix.Bind(fd, address)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, inode{}, err
	}
	if abstract {
		return fd, inode{}, nil
	}
	file, err := settle(path, mode)
	if err != nil {
		_ = unix.Unlink(path) // ours, and nobody else's yet
		unix.Close(fd)
		return -1, inode{}, err
	}
	return fd, file, nil
}

// removeStale removes the socket that a dead process left at path. It never
// follows a symbolic link and never removes anything but a socket; one that
// somebody still has open is in use.
func removeStale(path string, kind int) error {
	defer pin(path)()
	before, isSocket, err := stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !isSocket {
		return errors.New("the file exists and is not a socket")
	}
	probe, err := socket(unix.AF_UNIX, kind)
	if err != nil {
		return err
	}
	defer unix.Close(probe)
	switch err := unix.Connect(probe, &unix.SockaddrUnix{Name: path}); {
	case errors.Is(err, unix.ECONNREFUSED): // nobody has it open
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return err
	default: // connected, its queue is full, or it is of another type
		return unix.EADDRINUSE
	}
	// Whoever found it stale at the same time may have bound its own by now.
	if now, _, err := stat(path); err != nil || now != before {
		return unix.EADDRINUSE
	}
	if err := unix.Unlink(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove the stale socket: %w", err)
	}
	return nil
}

// stat looks at the path itself, not at what it may point to.
func stat(path string) (id inode, isSocket bool, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return inode{}, false, err
	}
	return inode{dev: uint64(st.Dev), ino: st.Ino}, st.Mode&unix.S_IFMT == unix.S_IFSOCK, nil //nolint:unconvert // other systems have another type
}

// RemoveStale removes the socket that a dead process left at path, and fails with
// [syscall.EADDRINUSE] when somebody has it open.
func RemoveStale(path string) error {
	if err := removeStale(path, unix.SOCK_STREAM); err != nil {
		return fmt.Errorf("cannot bind unix:%s: %w", path, err)
	}
	return nil
}

// chmod is for platforms and kernels without a better way.
func chmod(path string, mode fs.FileMode) error {
	if err := os.Chmod(path, mode.Perm()); err != nil {
		return fmt.Errorf("cannot set mode %04o: %w", mode.Perm(), err)
	}
	return nil
}
