package handoff_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/handoff"
)

func receiver(t testing.TB, path string) *handoff.Receiver {
	t.Helper()
	r, err := handoff.ListenNotify(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func socketIn(t testing.TB) string { return filepath.Join(t.TempDir(), "notify") }

// sender is a connected client that can send what Notify would refuse.
func sender(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t testing.TB, c *net.UnixConn, datagram string) {
	t.Helper()
	if _, err := c.Write([]byte(datagram)); err != nil {
		t.Fatal(err)
	}
}

// sendWith passes descriptors along.
func sendWith(t testing.TB, path, datagram string, fds ...int) {
	t.Helper()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	if err := unix.Sendmsg(s, []byte(datagram), unix.UnixRights(fds...), &unix.SockaddrUnix{Name: path}, 0); err != nil {
		t.Fatal(err)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestMessageNamesItsSenderThoughItHasEnded(t *testing.T) {
	r := receiver(t, socketIn(t))
	for range 20 {
		before := time.Now()
		if out := run(t, nil, "notify", r.Path(), "READY=1\nSTATUS=up"); out != "" {
			t.Fatal(out)
		}
		messages := r.Take()
		if len(messages) != 1 {
			t.Fatalf("%d messages of one", len(messages))
		}
		m := messages[0]
		if m.PID <= 0 || m.PID == os.Getpid() || int(m.UID) != os.Getuid() || m.At.Before(before) {
			t.Errorf("sender: %+v", m)
		}
		if m.PGID != 0 && m.PGID != syscall.Getpgrp() {
			t.Errorf("group %d, want ours, %d, or 0", m.PGID, syscall.Getpgrp())
		}
		if want := (handoff.State{Ready: true, HasStatus: true, Status: "up"}); m.State != want {
			t.Errorf("state %+v, want %+v", m.State, want)
		}
	}
}

func TestTakeReturnsWhatWasSentBeforeIt(t *testing.T) {
	r := receiver(t, socketIn(t))
	c := sender(t, r.Path())
	for i := range 2000 {
		send(t, c, fmt.Sprint("MAINPID=", i+1))
		messages := r.Take()
		if len(messages) != 1 || messages[0].MainPID != i+1 {
			t.Fatalf("after message %d: %+v", i, messages)
		}
		if m := messages[0]; m.PID != os.Getpid() || m.PGID != syscall.Getpgrp() {
			t.Fatalf("sender: %+v", m)
		}
	}
	if m := r.Take(); len(m) != 0 {
		t.Errorf("taken twice: %+v", m)
	}
}

func TestMessagesKeepTheirOrderAndWakeTheLoop(t *testing.T) {
	r := receiver(t, socketIn(t))
	const n = 500 // many times what the kernel queues
	go func() {
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: r.Path(), Net: "unixgram"})
		if err != nil {
			return // the deadline below fails the test
		}
		defer c.Close()
		for i := range n {
			fmt.Fprint(c, "MAINPID=", i+1)
		}
	}()
	next := 1
	for deadline := time.After(20 * time.Second); next <= n; {
		select {
		case <-r.Ready():
		case <-deadline:
			t.Fatalf("message %d never came", next)
		}
		for _, m := range r.Take() {
			if m.MainPID != next {
				t.Fatalf("message %d came when %d was due", m.MainPID, next)
			}
			next++
		}
	}
}

func TestUnreadableDatagramsAreDroppedWithTheReason(t *testing.T) {
	r := receiver(t, socketIn(t))
	c := sender(t, r.Path())
	send(t, c, "hello")
	send(t, c, "STATUS="+strings.Repeat("x", 100_000))
	send(t, c, "")
	send(t, c, "READY=1")
	if messages := r.Take(); len(messages) != 1 || !messages[0].Ready {
		t.Errorf("what counts: %+v", messages)
	}
	n, drops := r.Dropped()
	want := []handoff.Drop{
		{PID: os.Getpid(), Reason: `no assignment: "hello"`},
		{PID: os.Getpid(), Reason: "larger than 8192 bytes"},
		{PID: os.Getpid(), Reason: "no assignment"},
	}
	if n != 3 || fmt.Sprint(drops) != fmt.Sprint(want) {
		t.Errorf("%d dropped: %+v, want %+v", n, drops, want)
	}
	if n, drops := r.Dropped(); n != 0 || len(drops) != 0 {
		t.Errorf("told twice: %d %+v", n, drops)
	}
}

func TestDropsAreToldButDoNotFillTheLog(t *testing.T) {
	r := receiver(t, socketIn(t))
	c := sender(t, r.Path())
	var out bytes.Buffer
	var told handoff.DropLog
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	now := time.Unix(1700000000, 0)
	tell := func(after time.Duration) string {
		out.Reset()
		r.Take()
		now = now.Add(after)
		told.Tell(r, now, logger)
		return out.String()
	}
	record := func(reason string, count int) string {
		return fmt.Sprintf("level=WARN msg=\"notification dropped\" pid=%d reason=%q count=%d\n", os.Getpid(), reason, count)
	}
	if got := tell(0); got != "" {
		t.Errorf("before anything was sent: %s", got)
	}
	send(t, c, "READY")
	if got, want := tell(0), record(`no assignment: "READY"`, 1); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	send(t, c, "STATUS="+strings.Repeat("x", handoff.MaxDatagram))
	send(t, c, "again")
	if got := tell(10*time.Second - 1); got != "" {
		t.Errorf("too early: %s", got)
	}
	if got, want := tell(1), record("larger than 8192 bytes", 2); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestQueueIsBounded(t *testing.T) {
	r := receiver(t, socketIn(t))
	c := sender(t, r.Path())
	const limit, sent = 4096, 5000
	for range sent {
		send(t, c, "WATCHDOG=1")
	}
	if got := len(r.Take()); got != limit {
		t.Errorf("%d messages wait, want %d", got, limit)
	}
	if n, drops := r.Dropped(); n != sent-limit || len(drops) == 0 || len(drops) > 16 {
		t.Errorf("%d dropped with %d reasons", n, len(drops))
	}
	send(t, c, "READY=1")
	if messages := r.Take(); len(messages) != 1 {
		t.Errorf("after the flood: %+v", messages)
	}
}

func TestPassedDescriptorsAreClosed(t *testing.T) {
	r := receiver(t, socketIn(t))
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	before := openDescriptors(t)
	for _, datagram := range []string{"FDSTORE=1", "malformed"} {
		many := make([]int, 253) // SCM_MAX_FD
		for i := range many {
			many[i] = int(null.Fd())
		}
		sendWith(t, r.Path(), datagram, many...)
	}
	if messages := r.Take(); len(messages) != 1 {
		t.Errorf("%+v", messages)
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

func TestBarrierIsAnsweredByHangingUp(t *testing.T) {
	r := receiver(t, socketIn(t))
	c := sender(t, r.Path())
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	send(t, c, "STATUS=before")
	sendWith(t, r.Path(), "BARRIER=1", int(writer.Fd()))
	writer.Close()
	if n, err := reader.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatalf("read %d, %v; want the end of the file", n, err)
	}
	if messages := r.Take(); len(messages) != 2 || messages[0].Status != "before" || !messages[1].Barrier {
		t.Errorf("%+v", messages)
	}
}

func TestEveryUserMaySend(t *testing.T) {
	before := syscall.Umask(0o077)
	r := receiver(t, socketIn(t))
	syscall.Umask(before)
	if info, err := os.Stat(r.Path()); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestNotifySocketReplacesAStaleOneOnly(t *testing.T) {
	path := socketIn(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	_, err = handoff.ListenNotify(path)
	if want := "cannot bind the notify socket " + path + ": address already in use"; err == nil || err.Error() != want {
		t.Errorf("beside a live one: %v, want %s", err, want)
	}
	unix.Close(fd)
	r := receiver(t, path)
	if err := handoff.Notify(path, "READY=1"); err != nil {
		t.Error(err)
	}
	if messages := r.Take(); len(messages) != 1 {
		t.Errorf("%+v", messages)
	}
}

func TestAbstractNotifySocket(t *testing.T) {
	name := fmt.Sprintf("@gofork-test-notify-%d", os.Getpid())
	r := receiver(t, name)
	if err := handoff.Notify(r.Path(), "STOPPING=1"); err != nil {
		t.Error(err)
	}
	if messages := r.Take(); len(messages) != 1 || !messages[0].Stopping {
		t.Errorf("%+v", messages)
	}
}

func TestCloseEndsTheReceiver(t *testing.T) {
	r := receiver(t, socketIn(t))
	send(t, sender(t, r.Path()), "READY=1")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := os.Lstat(r.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the path is still there: %v", err)
	}
	r.Take() // must not touch a descriptor that may be somebody else's now
	if err := handoff.Notify(r.Path(), "READY=1"); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("notify to nobody: %v", err)
	}
}

// Who sends and ends at once is still known, because it waits to be read.
func TestNotifyReadIsReadWhileTheSenderLives(t *testing.T) {
	r := receiver(t, socketIn(t))
	own, err := unix.Getpgid(0)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if out := run(t, nil, "notify-read", r.Path(), "READY=1"); out != "" {
			t.Fatal(out)
		}
		messages := r.Take()
		if len(messages) == 0 || !messages[0].Ready || messages[0].PGID != own {
			t.Fatalf("received %+v, want READY=1 from process group %d", messages, own)
		}
	}
}

func TestNotifyRefusesWhatWouldBeDropped(t *testing.T) {
	r := receiver(t, socketIn(t))
	for _, state := range []string{"", "ready", "STATUS=" + strings.Repeat("x", handoff.MaxDatagram)} {
		if err := handoff.Notify(r.Path(), state); err == nil || !strings.HasPrefix(err.Error(), "cannot notify "+r.Path()) {
			t.Errorf("Notify(%.20q) = %v", state, err)
		}
	}
	if n, _ := r.Dropped(); n != 0 || len(r.Take()) != 0 {
		t.Error("something was sent")
	}
}

func BenchmarkNotifyRoundTrip(b *testing.B) {
	r := receiver(b, socketIn(b))
	c := sender(b, r.Path())
	for b.Loop() {
		send(b, c, "WATCHDOG=1")
		if len(r.Take()) != 1 {
			b.Fatal("lost")
		}
	}
}
