package control

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Abstract sockets have a name and no file: unix(7). They are where gofork answers
// when nothing can be written, as in a container with a read-only root. Anybody may
// connect to one, so it is the peer check alone that decides who is let in.

// abstractAddress is the abstract name that stands for a path.
func abstractAddress(path string) string {
	if len(path)+1 <= maxAddress {
		return "@" + path
	}
	sum := sha256.Sum256([]byte(path))
	return "@gofork/" + hex.EncodeToString(sum[:16]) + ".sock"
}

// ListenAbstract is [Listen] without a file system: clients that find no file at
// the path come here.
func ListenAbstract(path string) (*Socket, error) {
	address := abstractAddress(path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", address, os.NewSyscallError("socket", err))
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: address})
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			_, pid, _ := probe(address) // 0 when it cannot be told
			return nil, &InUseError{Path: address, PID: pid}
		}
		return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	return &Socket{path: address, fd: fd}, nil
}

// AbstractSockets are the paths below a directory that have an abstract socket
// instead of a file, as /proc/net/unix lists them.
func AbstractSockets(dir string) []string {
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil
	}
	var found []string
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line) // Num RefCount Protocol Flags Type St Inode Path
		const flags, path, listening = 3, 7, "00010000"
		if len(fields) <= path || fields[flags] != listening {
			continue
		}
		name, ok := strings.CutPrefix(fields[path], "@"+strings.TrimSuffix(dir, "/")+"/")
		if ok && strings.HasSuffix(name, ".sock") && !strings.Contains(name, "/") {
			found = append(found, strings.TrimPrefix(fields[path], "@"))
		}
	}
	return found
}
