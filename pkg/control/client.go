package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrUnreachable is in the chain of every error of a [Client] that says that
// nobody answered, as opposed to an [*Error], which somebody did.
var ErrUnreachable = errors.New("cannot reach gofork")

// maxAnswer bounds what a client reads into memory: a status of some ten thousand processes.
const maxAnswer = 64 << 20

// Client talks to one gofork. It is a [Backend]: a process that forwards a
// request uses it as it would answer itself. It is safe for concurrent use.
//
// Its errors are an [*Error], an error that wraps [ErrUnreachable], or the
// context's.
type Client struct {
	socket string
	http   *http.Client
}

var _ Backend = (*Client)(nil)

// Dial returns a client for the gofork at a socket; it connects at the first request.
func Dial(socket string) *Client {
	var dialer net.Dialer
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			connect := func(address string) (net.Conn, error) { return dialPatiently(ctx, &dialer, address) }
			conn, err := dialUnix(socket, connect)
			if err != nil && !strings.HasPrefix(socket, "@") && abstractAddress(socket) != socket {
				// No file: it may be one that could not write any.
				if abstract, abstractErr := connect(abstractAddress(socket)); abstractErr == nil {
					return abstract, nil
				}
			}
			return conn, err
		},
		MaxIdleConnsPerHost: 1,
		IdleConnTimeout:     idleTimeout / 2, // before the server closes it: no request is sent into a closing connection
		DisableCompression:  true,
	}}}
}

// queueFull is how long a client waits when there is no room in the kernel's queue.
const queueFull = 50 * time.Millisecond

// dialPatiently waits its turn: a unix socket whose queue is full refuses with EAGAIN
// (connect(2)), and there is nothing to poll.
func dialPatiently(ctx context.Context, dialer *net.Dialer, address string) (net.Conn, error) {
	for {
		conn, err := dialer.DialContext(ctx, "unix", address)
		if !errors.Is(err, syscall.EAGAIN) {
			return conn, err
		}
		select {
		case <-time.After(queueFull/2 + rand.N(queueFull)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Answers says whether somebody listens at a socket.
func Answers(socket string) bool {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialUnix(socket, func(address string) (net.Conn, error) {
		return dialer.DialContext(context.Background(), "unix", address)
	})
	if err != nil {
		return errors.Is(err, syscall.EAGAIN) // its queue is full
	}
	_ = conn.Close()
	return true
}

// Socket is where the client connects to.
func (c *Client) Socket() string { return c.socket }

// Close closes connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the whole picture.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var s Status
	return &s, c.call(ctx, http.MethodGet, "/v1/status", nil, nil, &s)
}

// Companions asks for the instances that a target means: NAME, NAME:2, or "" for all.
func (c *Client) Companions(ctx context.Context, target string) ([]Companion, error) {
	p := "/v1/companions"
	if target != "" {
		p = companionPath(target)
	}
	var l companionList
	return l.Companions, c.call(ctx, http.MethodGet, p, nil, nil, &l)
}

// Act starts, stops, restarts or signals a companion.
func (c *Client) Act(ctx context.Context, a Action) ([]Companion, error) {
	q := waitQuery(ctx)
	q.Set("wait", strconv.FormatBool(a.Wait))
	if a.Signal != "" {
		q.Set("signal", a.Signal)
	}
	var l companionList
	err := c.call(ctx, http.MethodPost, companionPath(a.Target(), a.Op), q, nil, &l)
	return l.Companions, err
}

// Reload reloads and waits for the result. A reload that failed is, as with every
// Backend, a result whose OK is false.
func (c *Client) Reload(ctx context.Context, r ReloadRequest) (*Reload, error) {
	p := "/v1/reload"
	if r.CompanionsOnly {
		p = "/v1/reread"
	}
	q := waitQuery(ctx)
	if r.DryRun {
		q.Set("dry_run", "true")
	}
	var result Reload
	err := c.call(ctx, http.MethodPost, p, q, nil, &result)
	var failed *failedError
	if errors.As(err, &failed) && failed.cause.Code == CodeReloadFailed {
		return failed.reload(), nil
	}
	if err != nil {
		return nil, err
	}
	return &result, nil
}

// Scale changes the number of workers.
func (c *Client) Scale(ctx context.Context, s ScaleRequest) (*Workers, error) {
	var w Workers
	if err := c.call(ctx, http.MethodPost, "/v1/scale", nil, s, &w); err != nil {
		return nil, err
	}
	return &w, nil
}

// Stop begins a stop.
func (c *Client) Stop(ctx context.Context, s StopRequest) error {
	return c.call(ctx, http.MethodPost, "/v1/stop", nil, s, nil)
}

// Reopen opens the log files again.
func (c *Client) Reopen(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/reopen", nil, nil, nil)
}

// Upgrade starts a new arbiter beside the running one.
func (c *Client) Upgrade(ctx context.Context) (*UpgradeResult, error) {
	var u UpgradeResult
	if err := c.call(ctx, http.MethodPost, "/v1/upgrade", waitQuery(ctx), nil, &u); err != nil {
		return nil, err
	}
	return &u, nil
}

// Config asks for the effective configuration: maps, slices, strings, bools, and
// numbers as int64 or float64.
func (c *Client) Config(ctx context.Context) (any, error) {
	var raw json.RawMessage
	if err := c.call(ctx, http.MethodGet, "/v1/config", nil, nil, &raw); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return numbers(v), nil
}

// numbers keeps whole numbers whole, which JSON does not.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = numbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = numbers(e)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // the decoder has checked that it is a number
		return f
	}
	return v
}

func companionPath(target string, more ...string) string {
	return "/" + strings.Join(append([]string{"v1", "companions", url.PathEscape(target)}, more...), "/")
}

// grace is how long the answer of a server whose time was over may take.
const grace = 2 * time.Second

// within is the key of the moment that a context of Within is about.
type within struct{}

// Within returns a context for requests that wait for at most d. The server counts
// d and says when it is over; the context's own deadline is a moment later, for a
// server that says nothing.
func Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithValue(ctx, within{}, time.Now().Add(d)), d+grace)
}

// waitQuery passes the caller's deadline on, a little shorter if it is one of
// package context, so that the answer is the server's "timeout" and not a broken
// connection.
func waitQuery(ctx context.Context) url.Values {
	q := url.Values{}
	if deadline, ok := ctx.Value(within{}).(time.Time); ok {
		q.Set("timeout", max(time.Until(deadline), time.Millisecond).String())
	} else if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		if left -= min(left/10, time.Second); left > 0 {
			q.Set("timeout", left.String())
		}
	}
	return q
}

// call sends one request and decodes its answer into out, if that is not nil.
func (c *Client) call(ctx context.Context, method, path string, q url.Values, in, out any) error {
	resp, err := c.send(ctx, method, path, q, in)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read to the end already, or given up
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return c.unreachable(ctx, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%w at %s: the answer is not what a gofork says: %w", ErrUnreachable, c.socket, err)
	}
	return nil
}

// send returns an answer that is 2xx; the caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, in any) (*http.Response, error) {
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("cannot encode the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	address := "http://gofork" + path
	if len(q) > 0 {
		address += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, fmt.Errorf("cannot make the request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }() // read to the end, or given up
	return nil, c.failure(resp)
}

// unreachable says why there was no answer.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("cannot wait for gofork at %s: %w", c.socket, ctx.Err())
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the address that only we made up
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // without "dial unix PATH", said already
	}
	return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.socket, err)
}

// failedError is an [*Error] with what was beside it in the answer.
type failedError struct {
	cause *Error
	body  errorBody
}

func (e *failedError) Error() string { return e.cause.Message }

// Unwrap makes errors.As find the *Error.
func (e *failedError) Unwrap() error { return e.cause }

func (e *failedError) reload() *Reload {
	r := &Reload{Error: e.cause.Message, Seconds: e.body.Seconds}
	if e.body.At != nil {
		r.At = *e.body.At
	}
	if e.body.Companions != nil {
		r.Companions = *e.body.Companions
	}
	return r
}

func (c *Client) failure(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.socket, err)
	}
	var body errorBody
	if err := json.Unmarshal(raw, &body); err != nil || body.Error == nil {
		return fmt.Errorf("%w at %s: the answer is not what a gofork says: %s", ErrUnreachable, c.socket, resp.Status)
	}
	body.Error.Status = resp.StatusCode
	return &failedError{cause: body.Error, body: body}
}
