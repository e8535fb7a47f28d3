package handoff

import (
	"errors"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

func socket(domain, kind int) (int, error) {
	return unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
}

// settle gives the socket file its exact mode and returns its identity. All is
// done to the one inode that path names now, whoever renames it meanwhile, and no
// symbolic link is followed.
func settle(path string, mode fs.FileMode) (inode, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return inode{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return inode{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return inode{}, errors.New("the socket was replaced while it was being bound")
	}
	id := inode{dev: st.Dev, ino: st.Ino}
	if mode == 0 || fs.FileMode(st.Mode).Perm() == mode.Perm() {
		return id, nil
	}
	// fchmod refuses O_PATH descriptors; the magic link leads to the same inode.
	return id, chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
}

// pin keeps the inode that path names now from being freed, and its number from
// being used again, until it is released.
func pin(path string) (release func()) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return func() {}
	}
	return func() { unix.Close(fd) }
}
