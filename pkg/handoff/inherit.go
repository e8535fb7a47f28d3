package handoff

import (
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FirstFD is the number of the first descriptor that LISTEN_FDS counts:
// SD_LISTEN_FDS_START of sd_listen_fds(3).
const FirstFD = 3

// FromSystemd takes over the sockets of LISTEN_FDS, in their order and under
// their LISTEN_FDNAMES. Without LISTEN_FDS, or when LISTEN_PID is another
// process, there are none. The descriptors become close-on-exec. Any descriptor
// that is not a listening stream socket is an error.
func FromSystemd(environ []string) ([]*Listener, error) {
	env := lookup(environ)
	count := env["LISTEN_FDS"]
	if count == "" || env["LISTEN_PID"] != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxInherited {
		return nil, fmt.Errorf("cannot take over LISTEN_FDS=%s: must be a number from 0 to %d", count, maxInherited)
	}
	var names []string
	if list := env["LISTEN_FDNAMES"]; list != "" {
		names = strings.Split(list, ":")
	}
	return inherited(n, names)
}

// Inherited takes over descriptors 3 to n+2 and asks for no LISTEN_PID: a worker in
// Go is started by the arbiter directly, which cannot know its pid in advance.
func Inherited(n int) ([]*Listener, error) { return inherited(n, nil) }

func inherited(n int, names []string) ([]*Listener, error) {
	fds := make([]int, n)
	for i := range fds {
		fds[i] = FirstFD + i
	}
	return takeOver("LISTEN_FDS", fds, names, false)
}

// FromGofork takes over the sockets that an older arbiter hands to a newer one:
// the inverse of [GoforkEnv]. Their unix paths are the newer one's to unlink.
func FromGofork(environ []string) ([]*Listener, error) {
	env := lookup(environ)
	list := env["GOFORK_FD"]
	if list == "" {
		return nil, nil
	}
	var fds []int
	var names []string
	for number := range strings.SplitSeq(list, ",") {
		fd, err := strconv.Atoi(number)
		if err != nil || fd < FirstFD || len(fds) == maxInherited {
			return nil, fmt.Errorf("cannot take over GOFORK_FD=%s: must be descriptor numbers from %d on", list, FirstFD)
		}
		fds = append(fds, fd)
	}
	if escaped := env["GOFORK_FDNAMES"]; escaped != "" {
		for s := range strings.SplitSeq(escaped, ",") {
			name, err := url.QueryUnescape(s)
			if err != nil {
				return nil, fmt.Errorf("cannot take over GOFORK_FDNAMES=%s: %w", escaped, err)
			}
			names = append(names, name)
		}
	}
	return takeOver("GOFORK_FD", fds, names, true)
}

// maxInherited bounds what a variable can make us allocate.
const maxInherited = 4096

func takeOver(variable string, fds []int, names []string, unlink bool) ([]*Listener, error) {
	listeners := make([]*Listener, 0, len(fds))
	// First all of them: even when one is refused, none may reach a child.
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	for i, fd := range fds {
		if err := checkListening(fd); err != nil {
			return nil, fmt.Errorf("cannot take over %s: %w", variable, err)
		}
		addr, path, err := describe(fd)
		if err != nil {
			return nil, fmt.Errorf("cannot take over %s: %w", variable, err)
		}
		l := &Listener{fd: fd, addr: addr}
		if i < len(names) {
			l.name = names[i]
		}
		if unlink && path != "" {
			if file, isSocket, err := stat(path); err == nil && isSocket {
				l.path, l.file = path, file
			}
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// ListenEnv announces n sockets, which the child must get as descriptors 3 to
// n+2, with a name for each or nil. LISTEN_PID is the child's own to set:
// proc.Command.ListenPID. A colon separates names and is replaced.
func ListenEnv(n int, names []string) []string {
	env := []string{"LISTEN_FDS=" + strconv.Itoa(n)}
	if len(names) == 0 {
		return env
	}
	safe := make([]string, len(names))
	for i, name := range names {
		safe[i] = fdName(name)
	}
	return append(env, "LISTEN_FDNAMES="+strings.Join(safe, ":"))
}

// fdName keeps to what sd_pid_notify_with_fds(3) allows: printable ASCII without
// colons, 255 bytes at most.
func fdName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == ':' {
			return '_'
		}
		return r
	}, name)
	if name == "" {
		return "unknown" // as systemd names them
	}
	return name[:min(len(name), 255)]
}

// GoforkEnv announces sockets to a newer arbiter: the numbers that they have
// there, and their names, which may hold any character.
func GoforkEnv(fds []int, names []string) []string {
	numbers := make([]string, len(fds))
	for i, fd := range fds {
		numbers[i] = strconv.Itoa(fd)
	}
	escaped := make([]string, len(names))
	for i, name := range names {
		escaped[i] = url.QueryEscape(name)
	}
	return []string{
		"GOFORK_FD=" + strings.Join(numbers, ","),
		"GOFORK_FDNAMES=" + strings.Join(escaped, ","),
	}
}

// Scrub returns the environment that children start from: without what was meant
// for this process alone, which is everything of the sd_listen_fds(3), sd_notify(3)
// and sd_watchdog_enabled(3) protocols and every GOFORK_ variable. What a child is
// to have of these is added for it afterwards.
func Scrub(environ []string) []string {
	kept := make([]string, 0, len(environ))
	for _, v := range environ {
		key, _, _ := strings.Cut(v, "=")
		switch key {
		case "LISTEN_FDS", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDNAMES",
			"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID":
			continue
		}
		if !strings.HasPrefix(key, "GOFORK_") {
			kept = append(kept, v)
		}
	}
	return kept
}

// lookup takes the last of duplicates, as getenv of most programs does not, but
// os/exec and the shell do.
func lookup(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, v := range environ {
		if key, value, ok := strings.Cut(v, "="); ok {
			env[key] = value
		}
	}
	return env
}
