package control_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/control"
)

// `gofork companion restart` of some hundred companions is a client for each. Those
// that find neither a slot nor room in the kernel's queue wait as well.
func TestClientsThatDoNotFitIntoTheQueueWait(t *testing.T) {
	entered, leave := make(chan struct{}, 1), make(chan struct{})
	s := start(t, &fake{act: func(context.Context, control.Action) ([]control.Companion, error) {
		select {
		case entered <- struct{}{}:
		default:
		}
		<-leave
		return nil, nil
	}}, control.Options{MaxConns: 4})
	answered := make(chan error)
	const clients = control.Backlog + 100
	for range clients {
		go func() {
			c := control.Dial(s.socket)
			defer c.Close()
			_, err := c.Act(t.Context(), control.Action{Op: "restart", Name: "rq", Wait: true})
			answered <- err
		}()
	}
	<-entered
	// No answer yet is no proof that nobody was refused, but a refusal is at once.
	select {
	case err := <-answered:
		t.Fatalf("answered before there was an answer: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	close(leave)
	for range clients {
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
	}
}

// A gofork whose queue is full is alive, whatever a connect says.
func TestFullQueueIsAnAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	raw, err := ln.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 0) }); err != nil {
		t.Fatal(err)
	}
	first, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if second, err := net.Dial("unix", path); err == nil {
		second.Close()
		t.Skip("the queue takes more than it was told to")
	}
	if !control.Answers(path) {
		t.Error("nobody answers, it says")
	}
}
