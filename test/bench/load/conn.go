package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Conn is one keep-alive connection to a server. It is not safe for concurrent use.
type Conn struct {
	addr    string
	timeout time.Duration
	conn    net.Conn
	in      *bufio.Reader
	body    []byte
}

// Answer is what came back. Body is valid until the next request.
type Answer struct {
	Code int
	Body []byte
	// Reused is false for the first request of a connection.
	Reused bool
}

// New returns a connection that is opened by its first request; a request that
// takes longer than timeout has failed.
func New(addr string, timeout time.Duration) *Conn {
	return &Conn{addr: addr, timeout: timeout}
}

// Close ends the connection.
func (c *Conn) Close() {
	if c.conn != nil {
		// What it would say is of no interest: every answer was read.
		_ = c.conn.Close()
		c.conn = nil
	}
}

// Get returns the request for a path, to be given to Do.
func Get(path string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: load\r\n\r\n")
}

// Post returns the request that sends a body.
func Post(path, body string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: load\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// Do sends a request and reads the answer. After an error the next request
// opens another connection.
func (c *Conn) Do(ctx context.Context, request []byte) (Answer, error) {
	a := Answer{Reused: c.conn != nil}
	if c.conn == nil {
		dialer := net.Dialer{Timeout: c.timeout}
		conn, err := dialer.DialContext(ctx, "tcp", c.addr)
		if err != nil {
			return a, err
		}
		c.conn = conn
		if c.in == nil {
			c.in = bufio.NewReaderSize(conn, 4<<10)
		}
		c.in.Reset(conn)
	}
	keep, err := c.exchange(request, &a)
	if err != nil || !keep {
		c.Close()
	}
	return a, err
}

func (c *Conn) exchange(request []byte, a *Answer) (keep bool, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return false, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return false, err
	}
	status, err := c.in.ReadSlice('\n')
	if err != nil {
		return false, err
	}
	if len(status) < 12 || !bytes.HasPrefix(status, []byte("HTTP/1.")) {
		return false, fmt.Errorf("no status line: %q", status)
	}
	if a.Code, err = strconv.Atoi(string(status[9:12])); err != nil {
		return false, err
	}
	keep, length, err := c.header()
	if err != nil {
		return false, err
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	a.Body = c.body[:length]
	_, err = io.ReadFull(c.in, a.Body)
	return keep, err
}

// header reads up to the empty line. Only what the servers here send is
// understood: a body has a Content-Length.
func (c *Conn) header() (keep bool, length int, err error) {
	keep, length = true, -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return false, 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		key, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(key, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return false, 0, err
			}
		case bytes.EqualFold(key, []byte("Connection")) && bytes.EqualFold(value, []byte("close")):
			keep = false
		}
	}
	if length < 0 {
		return false, 0, errors.New("an answer without Content-Length")
	}
	return keep, length, nil
}
