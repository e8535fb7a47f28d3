package handoff_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/handoff"
)

func listen(t *testing.T, addr string, o handoff.Options) *handoff.Listener {
	t.Helper()
	l, err := handoff.Listen(t.Context(), addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// refused wants Listen to fail with exactly this message.
func refused(t *testing.T, addr, want string) error {
	t.Helper()
	l, err := handoff.Listen(t.Context(), addr, handoff.Options{})
	if err == nil {
		l.Close()
		t.Fatalf("%s was bound, want: %s", addr, want)
	}
	if err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	return err
}

// dial connects to where the listener says that it listens.
func dial(addr string) error {
	network, address, _ := strings.Cut(addr, "://")
	c, err := net.Dial(network, address)
	if err == nil {
		c.Close()
	}
	return err
}

func flags(fd int) string {
	var set []string
	if f, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && f&unix.FD_CLOEXEC != 0 {
		set = append(set, "cloexec")
	}
	if f, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && f&unix.O_NONBLOCK != 0 {
		set = append(set, "nonblock")
	}
	return strings.Join(set, ",")
}

// backlog of a TCP listener is what the kernel shows as "sacked".
func backlog(t *testing.T, l *handoff.Listener) int {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(l.FD(), unix.SOL_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sacked)
}

func TestListenTCP(t *testing.T) {
	l := listen(t, "127.0.0.1:0", handoff.Options{Backlog: 7})
	port := strings.TrimPrefix(l.Addr(), "tcp://127.0.0.1:")
	if n, err := strconv.Atoi(port); err != nil || n == 0 {
		t.Fatalf("address %q has no real port", l.Addr())
	}
	if err := dial(l.Addr()); err != nil {
		t.Error(err)
	}
	if got := flags(l.FD()); got != "cloexec" {
		t.Errorf("flags %q", got)
	}
	if got := backlog(t, l); got != 7 {
		t.Errorf("backlog %d, want 7", got)
	}
	if protocol, err := unix.GetsockoptInt(l.FD(), unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || protocol != unix.IPPROTO_TCP {
		t.Errorf("protocol %d, %v; want plain TCP", protocol, err)
	}
	if l.Name() != "127.0.0.1:0" {
		t.Errorf("name %q", l.Name())
	}
	err := refused(t, "127.0.0.1:"+port, "cannot bind 127.0.0.1:"+port+": address already in use")
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v is not EADDRINUSE", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := dial(l.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after Close: %v", err)
	}
}

func TestListenWithoutHostIsDualStack(t *testing.T) {
	l := listen(t, ":0", handoff.Options{})
	port, ok := strings.CutPrefix(l.Addr(), "tcp://[::]:")
	if !ok {
		t.Skipf("no IPv6 here: %s", l.Addr())
	}
	for _, host := range []string{"127.0.0.1:", "[::1]:"} {
		if err := dial("tcp://" + host + port); err != nil {
			t.Error(err)
		}
	}
}

// Who writes 0.0.0.0 has not asked for IPv6.
func TestListenOnAllIPv4AddressesIsNoMore(t *testing.T) {
	l := listen(t, "0.0.0.0:0", handoff.Options{})
	port, ok := strings.CutPrefix(l.Addr(), "tcp://0.0.0.0:")
	if !ok {
		t.Fatalf("listens on %s", l.Addr())
	}
	if err := dial("tcp://127.0.0.1:" + port); err != nil {
		t.Error(err)
	}
	if err := dial("tcp://[::1]:" + port); err == nil {
		t.Error("it listens on IPv6")
	}
}

func TestReusePortAllowsOneSocketPerSlot(t *testing.T) {
	first := listen(t, "127.0.0.1:0", handoff.Options{ReusePort: true})
	addr := strings.TrimPrefix(first.Addr(), "tcp://")
	second := listen(t, addr, handoff.Options{ReusePort: true})
	if second.Addr() != first.Addr() {
		t.Errorf("%s and %s", first.Addr(), second.Addr())
	}
	refused(t, addr, "cannot bind "+addr+": address already in use")
}

func TestListenRefusesBadAddresses(t *testing.T) {
	refused(t, "127.0.0.1", "cannot bind 127.0.0.1: address 127.0.0.1: missing port in address")
	refused(t, "127.0.0.1:99999", "cannot bind 127.0.0.1:99999: address 99999: invalid port")
	refused(t, "unix:", "cannot bind unix:: empty socket path")
	refused(t, "fd:x", `cannot bind fd:x: descriptor "x": not a number`)
	refused(t, "fd:1000000", "cannot bind fd:1000000: descriptor 1000000 is not open")
	long := "unix:/" + strings.Repeat("x", 107)
	refused(t, long, "cannot bind "+long+": socket path is 108 bytes long, the limit is 107")
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.sock")
	before := syscall.Umask(0o077)
	l := listen(t, "unix:"+path, handoff.Options{UnixMode: 0o666, Backlog: 5})
	syscall.Umask(before)
	if l.Addr() != "unix://"+path {
		t.Errorf("address %q", l.Addr())
	}
	if got := flags(l.FD()); got != "cloexec" {
		t.Errorf("flags %q", got)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v; want 0666 whatever the umask", info.Mode(), err)
	}
	err := refused(t, "unix:"+path, "cannot bind unix:"+path+": address already in use")
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v is not EADDRINUSE", err)
	}
	if err := dial(l.Addr()); err != nil {
		t.Errorf("after an attempt to take it over: %v", err)
	}

	l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("Close removed the path: %v", err)
	}
	next := listen(t, "unix:"+path, handoff.Options{UnixMode: 0o600}) // the old one is stale now
	if err := dial(next.Addr()); err != nil {
		t.Error(err)
	}
	if err := l.Unlink(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Unlink after Close: %v", err)
	}
	if err := next.Unlink(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the path is still there: %v", err)
	}
}

func TestUnlinkSparesTheSuccessorsSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old := listen(t, "unix:"+path, handoff.Options{})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next := listen(t, "unix:"+path, handoff.Options{})
	if err := old.Unlink(); err != nil {
		t.Error(err)
	}
	if err := dial(next.Addr()); err != nil {
		t.Errorf("the predecessor removed its successor's path: %v", err)
	}
}

func TestListenUnixLeavesForeignFilesAlone(t *testing.T) {
	dir := t.TempDir()
	file, link, target := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "target")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	stale := listen(t, "unix:"+target, handoff.Options{})
	stale.Close()
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir} {
		refused(t, "unix:"+path, "cannot bind unix:"+path+": the file exists and is not a socket")
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "precious" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := os.Lstat(target); err != nil {
		t.Errorf("what the link leads to was removed: %v", err)
	}
}

func TestListenUnixWithFullQueueIsInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, "unix:"+path, handoff.Options{Backlog: 1})
	for range 2 { // fills the queue: nobody accepts
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	refused(t, "unix:"+path, "cannot bind unix:"+path+": address already in use")
	_ = l
}

func TestListenAbstract(t *testing.T) {
	name := fmt.Sprintf("@gofork-test-%d", os.Getpid())
	l := listen(t, "unix:"+name, handoff.Options{UnixMode: 0o600})
	if l.Addr() != "unix://"+name {
		t.Errorf("address %q", l.Addr())
	}
	if err := dial(l.Addr()); err != nil {
		t.Error(err)
	}
	refused(t, "unix:"+name, "cannot bind unix:"+name+": address already in use")
	if err := l.Unlink(); err != nil {
		t.Error(err)
	}
}

func TestListenOnInheritedDescriptor(t *testing.T) {
	original := listen(t, "127.0.0.1:0", handoff.Options{Backlog: 7})
	inherited, err := unix.Dup(original.FD()) // without close-on-exec, as inherited ones are
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	l := listen(t, fmt.Sprint("fd:", inherited), handoff.Options{Backlog: 9})
	if l.FD() == inherited {
		t.Error("it is no duplicate")
	}
	if l.Addr() != original.Addr() || backlog(t, l) != 9 {
		t.Errorf("%s with backlog %d", l.Addr(), backlog(t, l))
	}
	if got := flags(inherited); !strings.Contains(got, "cloexec") {
		t.Error("children inherit the descriptor")
	}
}

func TestListenRefusesOtherDescriptors(t *testing.T) {
	unconnected, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(unconnected)
	datagram, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(datagram)
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	for fd, want := range map[int]string{
		unconnected: "is not listening", datagram: "is not a stream socket", null: "is not a socket",
	} {
		refused(t, fmt.Sprint("fd:", fd), fmt.Sprintf("cannot bind fd:%d: descriptor %d %s", fd, fd, want))
	}
}

func TestAcceptServesWithoutOwningTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, addr := range []string{"127.0.0.1:0", "unix:" + path} {
		l := listen(t, addr, handoff.Options{UnixMode: 0o600})
		accepting, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := dial(l.Addr()); err != nil {
			t.Fatal(err)
		}
		c, err := accepting.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := accepting.Close(); err != nil {
			t.Error(err)
		}
		if err := dial(l.Addr()); err != nil {
			t.Errorf("%s ended with its first acceptor: %v", addr, err)
		}
		if got := flags(l.FD()); got != "cloexec,nonblock" {
			t.Errorf("flags %q", got)
		}
	}
}

func TestFromSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	tcp, local := listen(t, "127.0.0.1:0", handoff.Options{}), listen(t, "unix:"+path, handoff.Options{})
	pass := func(n int, names []string, files ...*os.File) func(*exec.Cmd) {
		return func(c *exec.Cmd) {
			c.ExtraFiles = files
			c.Env = append(handoff.Scrub(os.Environ()), handoff.ListenEnv(n, names)...)
		}
	}
	file := func(l *handoff.Listener) *os.File {
		fd, err := unix.Dup(l.FD())
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "")
		t.Cleanup(func() { f.Close() })
		return f
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()

	got := run(t, pass(2, []string{"web:8000", ""}, file(tcp), file(local)), "take-over", "ours")
	want := fmt.Sprintf("3 web_8000 %s cloexec\n4 unknown unix://%s cloexec", tcp.Addr(), path)
	if got != want {
		t.Errorf("taken over:\n%s\nwant:\n%s", got, want)
	}
	if got := run(t, pass(2, nil, file(tcp), file(local)), "take-over", "others"); got != "" {
		t.Errorf("taken over though LISTEN_PID is not ours: %s", got)
	}
	got = run(t, pass(2, nil, file(tcp), null), "take-over", "ours")
	if got != "cannot take over LISTEN_FDS: descriptor 4 is not a socket" {
		t.Errorf("with /dev/null: %s", got)
	}
	got = run(t, pass(-1, nil), "take-over", "ours")
	if got != "cannot take over LISTEN_FDS=-1: must be a number from 0 to 4096" {
		t.Errorf("with a negative number: %s", got)
	}
}

func TestHotUpgradeHandsOverSocketsAndPaths(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	local := listen(t, "unix:"+path, handoff.Options{})
	fd, err := unix.Dup(local.FD())
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := handoff.FromGofork(handoff.GoforkEnv([]int{fd}, []string{"unix:" + path + ",a%b"}))
	if err != nil || len(listeners) != 1 {
		t.Fatal(listeners, err)
	}
	l := listeners[0]
	defer l.Close()
	if l.FD() != fd || l.Name() != "unix:"+path+",a%b" || l.Addr() != local.Addr() || flags(fd) != "cloexec" {
		t.Errorf("%d %q %s %s", l.FD(), l.Name(), l.Addr(), flags(fd))
	}
	if err := l.Unlink(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the new owner did not remove the path: %v", err)
	}
}

func TestFromGoforkRefusesNonsense(t *testing.T) {
	for value, want := range map[string]string{
		"x":       "cannot take over GOFORK_FD=x: must be descriptor numbers from 3 on",
		"3,":      "cannot take over GOFORK_FD=3,: must be descriptor numbers from 3 on",
		"1":       "cannot take over GOFORK_FD=1: must be descriptor numbers from 3 on",
		"1000000": "cannot take over GOFORK_FD: descriptor 1000000 is not open",
	} {
		if l, err := handoff.FromGofork([]string{"GOFORK_FD=" + value}); err == nil || err.Error() != want {
			t.Errorf("GOFORK_FD=%s: %v, %v; want %s", value, l, err, want)
		}
	}
	if l, err := handoff.FromGofork(nil); l != nil || err != nil {
		t.Errorf("without GOFORK_FD: %v, %v", l, err)
	}
}
