//go:build linux

package test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// load is a crowd of clients that never try anything twice: a request that is not
// answered with 200 and the right body has failed, whatever the reason.
type load struct {
	addr  string
	phase func() string // what happens to the server now

	mu       sync.Mutex
	requests map[string]int           // by kind
	worst    map[string]time.Duration // by kind
	worstIn  map[string]string        // and the phase
	failures []string
}

// The kinds of clients. A pause between two requests on a connection must be
// shorter than the server's drain delay: HTTP/1.1 has no other way to end a
// connection that a client keeps.
const (
	keeping  = "keep-alive" // GET, one connection as long as the server lets it
	arriving = "new"        // GET, a connection for each
	slow     = "slow body"  // POST, the body in pieces over slowBody, on a kept connection

	keepers, newcomers, slowOnes = 38, 12, 12 // about 500 requests a second

	pause    = 100 * time.Millisecond // on the average, give or take a half
	slowBody = 200 * time.Millisecond
)

// requestPatience is when a request counts as lost.
const requestPatience = 15 * time.Second

// run loads the server until ctx ends, and waits for the last answers.
func (l *load) run(ctx context.Context) {
	l.requests, l.worst, l.worstIn = map[string]int{}, map[string]time.Duration{}, map[string]string{}
	var clients sync.WaitGroup
	for kind, n := range map[string]int{keeping: keepers, arriving: newcomers, slow: slowOnes} {
		for range n {
			clients.Go(func() { (&client{load: l, kind: kind}).run(ctx) })
		}
	}
	clients.Wait()
}

// client is one of the crowd, with the history of its connection, which is what
// one needs to know about a request that failed.
type client struct {
	load *load
	kind string

	conn     net.Conn
	in       *bufio.Reader
	nth      int       // request on this connection
	answered time.Time // the one before
	said     string    // by the answer before: pid
}

func (c *client) run(ctx context.Context) {
	defer c.hangUp()
	for ctx.Err() == nil {
		began, phase := time.Now(), c.load.phase()
		wrote, err := c.request()
		c.load.note(c, began, phase, wrote, err)
		if err != nil || c.kind == arriving {
			c.hangUp()
		}
		wait := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			wait.Stop()
		case <-wait.C:
		}
	}
}

func (c *client) hangUp() {
	if c.conn != nil {
		c.conn.Close()
	}
	c.conn, c.in, c.nth, c.said = nil, nil, 0, ""
}

// request sends one request, over the connection that there is, and reads its
// answer.
func (c *client) request() (wrote int, err error) {
	if c.conn == nil {
		if c.conn, err = net.DialTimeout("tcp", c.load.addr, requestPatience); err != nil {
			return 0, fmt.Errorf("connect: %w", err)
		}
		c.in = bufio.NewReader(c.conn)
	}
	c.nth++
	if err := c.conn.SetDeadline(time.Now().Add(requestPatience)); err != nil {
		return 0, err
	}
	pieces := []string{"GET /pid HTTP/1.1\r\nHost: load\r\n\r\n"}
	body := ""
	if c.kind == slow {
		const piece = "a piece of the body "
		body = strings.Repeat(piece, 4)
		pieces = []string{fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: load\r\nContent-Length: %d\r\n\r\n", len(body))}
		pieces = append(pieces, slices.Repeat([]string{piece}, 4)...)
	}
	for i, p := range pieces {
		if i > 0 {
			<-time.NewTimer(slowBody / 4).C
		}
		n, err := io.WriteString(c.conn, p)
		wrote += n
		if err != nil {
			return wrote, fmt.Errorf("write: %w", err)
		}
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return wrote, fmt.Errorf("read: %w", err)
	}
	got, err := io.ReadAll(res.Body)
	res.Body.Close()
	switch {
	case err != nil:
		return wrote, fmt.Errorf("read body: %w", err)
	case res.StatusCode != http.StatusOK:
		return wrote, fmt.Errorf("status %d: %s", res.StatusCode, got)
	case c.kind == slow && string(got) != body:
		return wrote, fmt.Errorf("body of %d bytes came back as %q", len(body), got)
	case c.kind != slow && len(got) == 0:
		return wrote, fmt.Errorf("empty answer")
	}
	if c.kind != slow {
		c.said = string(got)
	}
	c.answered = time.Now()
	if res.Close {
		c.hangUp()
	}
	return wrote, nil
}

// note counts a request, and keeps what is known of one that failed.
func (l *load) note(c *client, began time.Time, phase string, wrote int, err error) {
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests[c.kind]++
	if took > l.worst[c.kind] {
		l.worst[c.kind], l.worstIn[c.kind] = took, phase
	}
	if err == nil {
		return
	}
	history := "no connection"
	if c.conn != nil {
		history = fmt.Sprintf("request %d of %v", c.nth, c.conn.LocalAddr())
	}
	if c.nth > 1 {
		history += fmt.Sprintf(", %s after the answer before (pid %s)", began.Sub(c.answered).Round(time.Microsecond), c.said)
	}
	l.failures = append(l.failures, fmt.Sprintf("%s %s, begun during %q, failed after %s during %q, %d bytes sent, %s: %v",
		began.UTC().Format("15:04:05.000000"), c.kind, phase, took.Round(time.Microsecond), l.phase(), wrote, history, err))
}

// report fails the test for every request that failed, and tells the rest.
func (l *load) report(t testing.TB, lasted time.Duration) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	total := 0
	for _, n := range l.requests {
		total += n
	}
	t.Logf("%d requests in %s, %.0f a second; %d failed", total, lasted.Round(time.Millisecond), float64(total)/lasted.Seconds(), len(l.failures))
	for kind, n := range l.requests {
		t.Logf("%-10s %6d requests, at worst %s, begun during %q", kind, n, l.worst[kind].Round(time.Millisecond), l.worstIn[kind])
	}
	for i, f := range l.failures {
		if i == 20 {
			t.Errorf("and %d more", len(l.failures)-i)
			return
		}
		t.Errorf("failed: %s", f)
	}
}
