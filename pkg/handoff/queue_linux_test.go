package handoff

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestQueueShowsWhatWaitsAndWhatWasDropped(t *testing.T) {
	l, err := Listen(t.Context(), "127.0.0.1:0", Options{Backlog: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if q, err := l.Queue(); err != nil || q != (Queue{Limit: 2}) {
		t.Fatalf("%+v, %v of a socket that nobody has called", q, err)
	}
	addr := strings.TrimPrefix(l.Addr(), "tcp://")
	// The kernel lets one more than the backlog in.
	for range 3 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if q, err := l.Queue(); err != nil || q.Waiting != 3 {
		t.Errorf("%+v, %v, want 3 waiting", q, err)
	}
	if conn, err := net.DialTimeout("tcp", addr, 100*time.Millisecond); err == nil {
		conn.Close()
	}
	if q, err := l.Queue(); err != nil || q.Dropped < 1 {
		t.Errorf("%+v, %v, want a drop", q, err)
	}
}

func TestQueueOfAUnixSocketIsNotKnown(t *testing.T) {
	l, err := Listen(t.Context(), "unix:"+filepath.Join(t.TempDir(), "s"), Options{Backlog: 2, UnixMode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Unlink()
	defer l.Close()
	if _, err := l.Queue(); err == nil {
		t.Error("no error")
	}
}
