package control_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"golang.org/x/sys/unix"
)

var private = control.ListenOptions{Mode: 0o600, DirMode: 0o700}

func listen(t *testing.T, path string, o control.ListenOptions) *control.Socket {
	t.Helper()
	s, err := control.Listen(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func modeOf(t *testing.T, path string) os.FileMode {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Mode().Perm()
}

func TestListenSetsModesWhateverTheUmaskIs(t *testing.T) {
	for _, umask := range []int{0, 0o077, 0o027} {
		t.Run(fmt.Sprintf("umask %#o", umask), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "above", "run")
			old := syscall.Umask(umask)
			defer syscall.Umask(old)
			path := filepath.Join(dir, "a.sock")
			listen(t, path, control.ListenOptions{Mode: 0o660, DirMode: 0o711})
			if got := modeOf(t, path); got != 0o660 {
				t.Errorf("socket mode %#o, want 0660", got)
			}
			if got := modeOf(t, dir); got != 0o711 {
				t.Errorf("directory mode %#o, want 0711", got)
			}
		})
	}
}

func TestListenWidensItsDirectoryAndNeverNarrowsIt(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ there, wanted, after os.FileMode }{
		{0o700, 0o711, 0o711},
		{0o755, 0o700, 0o755},
		{0o770, 0o711, 0o771},
	} {
		if err := os.Chmod(dir, tt.there); err != nil {
			t.Fatal(err)
		}
		s := listen(t, filepath.Join(dir, "a.sock"), control.ListenOptions{Mode: 0o600, DirMode: tt.wanted})
		if got := modeOf(t, dir); got != tt.after {
			t.Errorf("mode %#o, wanted at least %#o, became %#o", tt.there, tt.wanted, got)
		}
		_ = s.Close()
	}
}

func TestListenReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	_ = listen(t, path, private).Close()
	s := listen(t, path, private)
	if s.Path() != path || s.FD() < 3 {
		t.Errorf("socket %q, descriptor %d", s.Path(), s.FD())
	}
}

func TestListenRefusesALivingSocketAndNamesItsProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	listen(t, path, private)
	_, err := control.Listen(path, private)
	var inUse *control.InUseError
	if !errors.As(err, &inUse) || inUse.PID != os.Getpid() {
		t.Fatalf("error %v", err)
	}
	if want := fmt.Sprintf("cannot listen on %s: a running gofork has it (pid %d)", path, os.Getpid()); err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestListenLetsOneOfManyWin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	for range 200 { // the moment between bind and listen is short
		var won atomic.Int32
		var racers sync.WaitGroup
		sockets := make([]*control.Socket, 4)
		for i := range sockets { // from the second round on the socket is stale: all would like to replace it
			racers.Go(func() {
				s, err := control.Listen(path, private)
				var inUse *control.InUseError
				switch {
				case err == nil:
					won.Add(1)
					sockets[i] = s
				case !errors.As(err, &inUse):
					t.Error(err)
				}
			})
		}
		racers.Wait()
		for _, s := range sockets {
			if s != nil {
				_ = s.Close()
			}
		}
		if n := won.Load(); n != 1 {
			t.Fatalf("%d of %d got the socket", n, len(sockets))
		}
	}
}

func TestListenLeavesAloneWhatIsNoSocket(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.sock")
	if err := os.Symlink(victim, link); err != nil {
		t.Fatal(err)
	}
	dangling := filepath.Join(dir, "dangling.sock")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{
		victim:   "not a socket",
		link:     "symbolic link",
		dangling: "symbolic link",
		dir:      "not a socket",
	} {
		if _, err := control.Listen(path, private); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: error %v, want %q in it", path, err, why)
		}
	}
	if b, err := os.ReadFile(victim); string(b) != "precious" || err != nil || modeOf(t, victim) != 0o644 {
		t.Errorf("the file became %q, %#o, %v", b, modeOf(t, victim), err)
	}
	if _, err := control.Listen("relative.sock", private); err == nil {
		t.Error("a relative path was taken")
	}
}

func TestListenRefusesADirectoryWhereOthersRule(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(filepath.Join(dir, "a.sock"), private); err == nil || !strings.Contains(err.Error(), "everybody") {
		t.Errorf("world-writable: error %v", err)
	}
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	listen(t, filepath.Join(dir, "a.sock"), private) // as in /tmp
	if os.Getuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	foreign := filepath.Join(t.TempDir(), "foreign")
	if err := os.Mkdir(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(foreign, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(filepath.Join(foreign, "a.sock"), private); err == nil || !strings.Contains(err.Error(), "another user (12345)") {
		t.Errorf("foreign: error %v", err)
	}
}

func TestLongPathsWorkOnBothSides(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	path := filepath.Join(dir, "a.sock")
	sock := listen(t, path, private)
	if _, err := control.Listen(path, private); err == nil {
		t.Error("a living socket was replaced")
	}
	ln, err := sock.Listener()
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, path, func(ctx context.Context) error { return control.Serve(ctx, ln, &fake{}, control.Options{}) })
	c := control.Dial(path)
	defer c.Close()
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := control.Listen(filepath.Join(dir, strings.Repeat("n", 100)), private); err == nil || !strings.Contains(err.Error(), "100 bytes long") {
		t.Errorf("a name that fits nowhere: error %v", err)
	}
}

func TestClosingAListenerLeavesTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	s := listen(t, path, private)
	for range 2 { // as when a server is started again
		ln, err := s.Listener()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Unlink(); err != nil {
		t.Fatal(err)
	}
	if err := s.Unlink(); err != nil {
		t.Errorf("unlink of what is gone: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after unlink: %v", err)
	}
}

func TestUnlinkLeavesASuccessorsSocketAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	old := listen(t, path, private)
	successor := listen(t, path+".2", private)
	if err := successor.Rename(path); err != nil {
		t.Fatal(err)
	}
	if err := old.Unlink(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	}
	if err := successor.Unlink(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after unlink: %v", err)
	}
}

// asUser connects as another user: the thread takes the user's id and is thrown
// away, so that nothing else ever runs with it.
func asUser(uid int, path string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			done <- result{err: errno}
			return
		}
		conn, err := net.Dial("unix", path)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// Whoever may not ask must not keep others from asking either: an abstract socket, and
// one whose mode lets a group in, can be reached by strangers.
func TestStrangersTakeNoSlots(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can connect as somebody else")
	}
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "a.sock")
	sock := listen(t, path, control.ListenOptions{Mode: 0o666, DirMode: 0o711})
	ln, err := sock.Listener()
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, path, func(ctx context.Context) error {
		return control.Serve(ctx, ln, &fake{}, control.Options{SelfUID: 12345, MaxConns: 2})
	})
	for range 40 {
		conn, err := asUser(12347, path) // says nothing
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // less than one that says nothing is waited for
	defer cancel()
	c := control.Dial(path)
	defer c.Close()
	if _, err := c.Status(ctx); err != nil {
		t.Error(err)
	}
}

func TestPeersAreRootSelfAndAllowed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can connect as somebody else")
	}
	const self, allowed, stranger = 12345, 12346, 12347
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "a.sock")
	sock := listen(t, path, control.ListenOptions{Mode: 0o666, DirMode: 0o711})
	ln, err := sock.Listener()
	if err != nil {
		t.Fatal(err)
	}
	b := &fake{}
	serveOn(t, path, func(ctx context.Context) error {
		return control.Serve(ctx, ln, b, control.Options{SelfUID: self, AllowUIDs: []uint32{allowed}})
	})
	for _, tt := range []struct{ uid, status int }{{0, 200}, {self, 200}, {allowed, 200}, {stranger, 403}} {
		for _, request := range []string{"POST /v1/reopen", "GET /livez", "GET /nowhere"} {
			method, target, _ := strings.Cut(request, " ")
			client := &http.Client{Transport: &http.Transport{
				DisableKeepAlives: true,
				DialContext:       func(context.Context, string, string) (net.Conn, error) { return asUser(tt.uid, path) },
			}}
			req, err := http.NewRequestWithContext(t.Context(), method, "http://x"+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			want := tt.status
			if want == 200 && target == "/nowhere" {
				want = 404
			}
			if resp.StatusCode != want {
				t.Errorf("user %d, %s: status %d, want %d", tt.uid, request, resp.StatusCode, want)
			}
		}
	}
	if n := len(b.noted()); n != 3 {
		t.Errorf("the backend was asked %d times, want 3", n)
	}
}
