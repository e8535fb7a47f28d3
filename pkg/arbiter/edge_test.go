package arbiter

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/handoff"
)

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestPidfile(t *testing.T) {
	const own = 1 << 22 // above any pid
	living := os.Getppid()
	for _, tt := range []struct {
		name, content string
		refused       bool
	}{
		{"none", "", false},
		{"stale", "4194303\n", false},
		{"garbage", "hello\n", false},
		{"negative", "-1\n", false},
		{"one's own", strconv.Itoa(own), false},
		{"living", strconv.Itoa(living) + "\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.pid")
			if tt.content != "" {
				write(t, path, tt.content)
			}
			err := takePidfile(path, "", own)
			if tt.refused {
				if err == nil || !strings.Contains(err.Error(), "pid "+strconv.Itoa(living)) {
					t.Errorf("error %v, want one that names the pid", err)
				}
				if got := read(t, path); got != tt.content {
					t.Errorf("the file has become %q", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, path); got != strconv.Itoa(own)+"\n" {
				t.Errorf("content %q", got)
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
			if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
				t.Errorf("files are left: %v", left)
			}
		})
	}
}

func TestAPidfileIsReplacedAsAWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.pid")
	write(t, path, "4194303\n")
	before, err := os.Open(path) // a reader at the wrong moment
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	if err := takePidfile(path, "", 4194302); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 32)
	if n, _ := before.Read(b); string(b[:n]) != "4194303\n" {
		t.Errorf("the old file was changed in place: %q", b[:n])
	}
}

func TestAPidfileThatCannotBeWritten(t *testing.T) {
	if err := takePidfile(filepath.Join(t.TempDir(), "missing", "app.pid"), "", 1); err == nil || !strings.Contains(err.Error(), "cannot write pidfile") {
		t.Errorf("error %v", err)
	}
	if err := takePidfile("", siblingSuffix, 1); err != nil {
		t.Errorf("no pidfile: %v", err)
	}
}

func TestOnlyOnesOwnPidfileIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.pid")
	l := newLoop(Options{Config: configOf(1, func(c *config.Config) { c.Server.Pidfile = path }), PID: 4194302})
	for content, removed := range map[string]bool{"4194302\n": true, "4194301\n": false, "x": false} {
		write(t, path, content)
		l.dropPidfile()
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) != removed {
			t.Errorf("%q: %v", content, err)
		}
	}
	write(t, path, "4194302\n")
	l.child = 9 // takes the name over
	if l.dropPidfile(); read(t, path) == "" {
		t.Error("the younger arbiter's name is gone")
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPlace(t *testing.T) {
	at := func(dir string, change ...func(*config.Config)) *config.Config {
		return configOf(1, append(change, func(c *config.Config) { c.Server.RuntimeDir = dir })...)
	}
	base := t.TempDir()
	write(t, filepath.Join(base, "file"), "")
	other := func(c *config.Config) { c.Worker.Credential = &config.Credential{UID: 1, GID: 1} }
	for _, tt := range []struct {
		name string
		cfg  *config.Config
		dir  string
		mode fs.FileMode
	}{
		{"made", at(filepath.Join(base, "a", "b")), filepath.Join(base, "a", "b"), 0o700},
		{"entered by another user", at(filepath.Join(base, "c"), other), filepath.Join(base, "c"), 0o711},
		{"not a directory", at(filepath.Join(base, "file")), "", 0},
		{"too long for a socket", at(filepath.Join(base, strings.Repeat("x", 100))), "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := preparePlace(tt.cfg, 7, silent())
			if p.dir != tt.dir {
				t.Fatalf("place %q, want %q", p.dir, tt.dir)
			}
			if tt.dir == "" {
				// Another process 7 may be in the same network namespace.
				if stem := p.stem("app.7"); !strings.HasPrefix(stem, "@gofork/app.7.") || stem == p.stem("app.7") {
					t.Errorf("stem %s, and again %s", stem, p.stem("app.7"))
				}
				return
			}
			if info, err := os.Stat(tt.dir); err != nil || info.Mode().Perm() != tt.mode {
				t.Errorf("%v, %v", info.Mode(), err)
			}
			if left, _ := os.ReadDir(tt.dir); len(left) != 0 {
				t.Errorf("files are left: %v", left)
			}
			if err := p.admit(at(tt.dir, other)); err != nil { // a reload brings another user
				t.Error(err)
			}
			if info, err := os.Stat(tt.dir); err != nil || info.Mode().Perm() != 0o711 {
				t.Errorf("admitted to %v, %v", info.Mode(), err)
			}
		})
	}
}

// A notify socket has its gofork's pid in its name, so what a killed one left
// would stay for ever.
func TestNotifySocketsOfKilledGoforksAreRemoved(t *testing.T) {
	dir := t.TempDir()
	p := place{dir}
	left := func(name string) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(dir, name)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"app.7.notify", "app.8.manager.notify", "other.7.notify", "app.web.7.notify", "app.x.notify", "app.7.sock"} {
		left(name)
	}
	write(t, filepath.Join(dir, "app.10.notify"), "no socket")
	living, err := handoff.ListenNotify(filepath.Join(dir, "app.9.notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()

	p.sweep("app")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), "app.10.notify app.7.sock app.9.notify app.web.7.notify app.x.notify other.7.notify"; got != want {
		t.Errorf("there are %s, want %s", got, want)
	}
	place{}.sweep("app")
	place{filepath.Join(dir, "none")}.sweep("app")
}

func TestTheControlSocketFallsBackToAnAbstractName(t *testing.T) {
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), "file", "app.sock")
	write(t, filepath.Dir(path), "") // no directory
	cfg := configOf(1, func(c *config.Config) { c.Control.Socket, c.Control.Mode = path, 0o600 })
	s, err := place{}.controlSocket(cfg, "", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Skipf("no abstract sockets here: %v", err)
	}
	defer s.Close()
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines in the log: %s", n, log.String())
	}
	_, err = place{}.controlSocket(cfg, "", silent())
	if inUse := (*control.InUseError)(nil); !errors.As(err, &inUse) {
		t.Errorf("a second gofork: %v", err)
	}
}

// open makes sockets on a port that the system chooses, or at a path.
func open(t *testing.T, bind string) *socket {
	t.Helper()
	l, err := handoff.Listen(t.Context(), bind, handoff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &socket{name: bind, list: []*handoff.Listener{l}}
}

func isOpen(k *socket) bool {
	if len(k.list) == 0 {
		return false
	}
	_, err := unix.FcntlInt(uintptr(k.first().FD()), unix.F_GETFD, 0)
	return err == nil
}

func TestSocketsAreRetiredExactly(t *testing.T) {
	shared, old, fresh := open(t, "127.0.0.1:0"), open(t, "127.0.0.1:0"), open(t, "127.0.0.1:0")
	s := sockets{of: map[int][]*socket{1: {shared, old}, 2: {shared, fresh}, 3: {shared, old}}}
	if _, err := s.retire([]int{1, 2, 3}, true); err != nil || !isOpen(shared) || !isOpen(old) || !isOpen(fresh) {
		t.Fatalf("all are kept: %v", err)
	}
	if _, err := s.retire([]int{2}, true); err != nil || !isOpen(shared) || isOpen(old) || !isOpen(fresh) {
		t.Errorf("generation 2 is kept: %v", err)
	}
	if _, err := s.retire([]int{2}, true); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := s.retire(nil, true); err != nil || isOpen(shared) || isOpen(fresh) || len(s.of) != 0 {
		t.Errorf("none is kept: %v", err)
	}
}

func TestPathsAreRemovedByWhoOwnsThem(t *testing.T) {
	for _, tt := range []struct {
		name              string
		unlink, inherited bool
		gone              bool
	}{
		{"own", true, false, true},
		{"a sibling lives", false, false, false},
		{"the supervisor's above", true, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			s := sockets{inherited: tt.inherited, of: map[int][]*socket{1: {open(t, "unix:"+path)}}}
			if _, err := s.retire(nil, tt.unlink); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) != tt.gone {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAConfigurationThatComesTooLateLeavesNothingOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	kept := open(t, "unix:"+path)
	var log bytes.Buffer
	l := newLoop(Options{Config: configOf(1), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	l.core = newCore(configOf(1), nil, epoch, nil)
	l.sockets.of[1] = []*socket{kept}
	l.core.step(epoch, began{})
	l.core.step(epoch, reloadAsked{})
	l.core.step(epoch, stopAsked{})
	l.retireListeners(nil) // as the stop orders
	fresh := open(t, "127.0.0.1:0")
	l.loaded(loaded{configLoaded{number: 2, config: configOf(1)}, []*socket{kept, fresh}, []*socket{fresh}})
	if isOpen(fresh) || isOpen(kept) {
		t.Error("a socket is left open")
	}
	if log.Len() > 0 { // neither an error nor that it listens
		t.Errorf("log: %s", log.String())
	}
}

func TestLoadOpensWhatIsNewAndKeepsTheRest(t *testing.T) {
	kept := open(t, "127.0.0.1:0")
	binds := func(b ...string) *config.Config {
		return configOf(1, func(c *config.Config) { c.Server.Bind = b })
	}
	have := map[string]*socket{kept.name: kept}
	path := "unix:" + filepath.Join(t.TempDir(), "s")
	out := load(loadConfig{number: 2}, func() (*config.Config, error) { return binds(path, kept.name), nil }, nil, have)
	if out.event.err != "" || len(out.fresh) != 1 || out.listeners[1] != kept || out.listeners[0] != out.fresh[0] {
		t.Fatalf("%+v", out)
	}
	taken := strings.TrimPrefix(out.fresh[0].first().Addr(), "unix://")
	_ = out.fresh[0].close(true)

	// One that cannot be opened takes those before it back.
	blocker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close()
	out = load(loadConfig{number: 3}, func() (*config.Config, error) { return binds(path, blocker.Addr().String()), nil }, nil, have)
	if !strings.Contains(out.event.err, "cannot reload: cannot bind "+blocker.Addr().String()) || len(out.fresh) != 0 {
		t.Errorf("%+v", out)
	}
	if _, err := os.Stat(taken); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", taken, err)
	}
	// What the supervisor above gave is all there is.
	inherited := []*socket{kept}
	out = load(loadConfig{number: 4}, func() (*config.Config, error) { return binds("127.0.0.1:1"), nil }, inherited, have)
	if !slices.Equal(out.listeners, inherited) {
		t.Errorf("%+v", out)
	}
	out = load(loadConfig{number: 5}, func() (*config.Config, error) { return nil, errors.New("app.toml:1: bad") }, nil, have)
	if out.event.err != "cannot reload: app.toml:1: bad" || out.event.number != 5 {
		t.Errorf("%+v", out)
	}
	out = load(loadConfig{token: 6, dry: true, current: binds("a:1", "b:1")}, func() (*config.Config, error) { return binds("b:1", "c:1"), nil }, nil, have)
	want := []control.PlanListener{{Address: "c:1", Action: "open"}, {Address: "a:1", Action: "close"}, {Address: "b:1", Action: "keep"}}
	if out.event.plan == nil || !slices.Equal(out.event.plan.Listeners, want) {
		t.Errorf("%+v", out.event.plan)
	}
}

func TestASlowReaderIsDroppedAndNobodyElse(t *testing.T) {
	h := newHub()
	slow, fast := h.follow(), h.follow()
	for n := range eventBuffer + 10 {
		h.publish(control.Event{Event: "e"}, nil)
		if e := <-fast; e.Seq != uint64(n+1) {
			t.Fatalf("event %d has number %d", n+1, e.Seq)
		}
	}
	n := 0
	for range slow { // closed
		n++
	}
	if n != eventBuffer {
		t.Errorf("%d events before the end", n)
	}
	h.leave(slow)
	h.leave(fast)
	h.leave(fast)
	if _, ok := <-fast; ok || len(h.readers) != 0 {
		t.Error("a reader is left")
	}
}

func TestNoEventIsLostOrDoubledBehindASnapshot(t *testing.T) {
	inBubble(t, configOf(2), nil, func(s *served) {
		s.ready(1)
		ctx, cancel := context.WithCancel(s.t.Context())
		st, events, err := s.backend.Events(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.Workers.Ready != 1 {
			t.Errorf("%+v", st.Workers)
		}
		s.ready(2)
		e := <-events
		if e.Event != "worker.ready" || e.Attrs["slot"] != int64(2) {
			t.Errorf("the first event is %s of slot %v", e.Event, e.Attrs["slot"])
		}
		last := e.Seq
		s.signal(syscall.SIGTERM)
		cancel()
		for e := range events {
			if e.Seq != last+1 {
				t.Errorf("event %d after %d", e.Seq, last)
			}
			last = e.Seq
		}
	})
}

func TestTheLastAnswerIsGivenBesideTheEnd(t *testing.T) {
	requests, ended := make(chan request), make(chan struct{})
	b := &backend{running: over(), requests: requests, ended: ended}
	for range 50 { // a select of two that are ready is fair
		go func() {
			r := <-requests
			r.reply <- &control.Status{}
		}()
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			if _, err := b.Status(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		<-answered
	}
	close(ended)
	if _, err := b.Status(t.Context()); err != errEnded {
		t.Errorf("error %v", err)
	}
	// The answer was there before the end was seen.
	answer := make(chan request, 1)
	for range 50 {
		ended := make(chan struct{})
		b := &backend{running: over(), requests: answer, ended: ended}
		go func() {
			r := <-answer
			r.reply <- &control.Status{}
			close(ended)
		}()
		if _, err := b.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// over is what was closed long ago.
func over() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
