//go:build linux

package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"
)

// answer is what came back over HTTP.
type answer struct {
	code  int
	body  string
	close bool // "Connection: close"
	err   error
}

// get asks the server's address for a path, over a connection of its own.
func (s *server) get(path string) answer {
	return fetch(dialer("tcp", s.addr), path, nil)
}

// getUnix asks a unix socket, such as the control socket, for a path.
func getUnix(socket, path string) answer {
	return fetch(dialer("unix", socket), path, nil)
}

// begin starts a request and returns when it was written; the answer comes on
// the channel.
func (s *server) begin(path string) <-chan answer {
	s.t.Helper()
	written := make(chan struct{})
	answered := make(chan answer, 1)
	go func() {
		answered <- fetch(dialer("tcp", s.addr), path, &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { close(written) },
		})
	}()
	select {
	case <-written:
	case a := <-answered:
		s.t.Fatalf("cannot send GET %s: %v", path, a.err)
	}
	return answered
}

// dialer returns a DialContext that goes to one place.
func dialer(network, address string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}

func fetch(dial func(context.Context, string, string) (net.Conn, error), path string, trace *httptrace.ClientTrace) answer {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if trace != nil {
		ctx = httptrace.WithClientTrace(ctx, trace)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gofork"+path, http.NoBody)
	if err != nil {
		return answer{err: err}
	}
	// Keep-alive on the wire, so that the server's "Connection: close" shows.
	transport := &http.Transport{DialContext: dial}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{code: res.StatusCode, body: string(body), close: res.Close, err: err}
}

// mustGet is get for an answer that has to be 200; it returns the body.
func (s *server) mustGet(path string) string {
	s.t.Helper()
	a := s.get(path)
	if a.err != nil || a.code != http.StatusOK {
		s.t.Fatalf("GET %s: status %d, %v", path, a.code, a.err)
	}
	return a.body
}

// awaitAnswer waits for the answer to a request that was begun.
func (s *server) awaitAnswer(answered <-chan answer) answer {
	s.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case a := <-answered:
		return a
	case <-deadline.C:
		s.t.Fatal("no answer")
		return answer{}
	}
}

// awaitAnswers waits until each of the requests that were begun was answered with 200.
func (s *server) awaitAnswers(all ...<-chan answer) {
	s.t.Helper()
	for _, answered := range all {
		if a := s.awaitAnswer(answered); a.err != nil || a.code != http.StatusOK {
			s.t.Errorf("a request in flight got status %d, error %v; want 200", a.code, a.err)
		}
	}
}

// hold begins a request that a worker of the role http answers when it drains.
func (s *server) hold() <-chan answer {
	s.t.Helper()
	held := s.begin("/hold")
	eventually(s.t, "a worker holds the request", func() bool { return s.journal.printed("holding") })
	return held
}

// served checks that a worker answers at a unix socket.
func (s *server) served(socket, when string) {
	s.t.Helper()
	if a := getUnix(socket, "/pid"); a.code != http.StatusOK {
		s.t.Errorf("%s: the unix socket answers %d, %v", when, a.code, a.err)
	}
}

// notify sends one datagram to a notification socket, as sd_notify(3) does.
func notify(socket, message string) error {
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(message))
	return err
}

// helloPID reads the pid out of the hello handler's answer.
func helloPID(body string) (pid int, err error) {
	var slot, generation int
	_, err = fmt.Sscanf(strings.TrimSpace(body), "hello from gofork: slot %d pid %d generation %d", &slot, &pid, &generation)
	return pid, err
}
