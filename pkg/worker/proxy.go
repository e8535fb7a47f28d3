package worker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// upstreamDial bounds connecting to an upstream: one that does not answer
	// must leave time to try the next.
	upstreamDial = 5 * time.Second
	// upstreamRest is how long an upstream that could not be reached is asked
	// last.
	upstreamRest = 2 * time.Second
	// upstreamIdle is how many idle connections are kept to one upstream.
	upstreamIdle = 256
)

// Proxy is the factory of the handler "proxy", which passes requests to
// {upstream}, in turn if it is a list. The Host header is kept, X-Forwarded-For,
// -Host and -Proto are set to what this worker knows of the client. A request
// that did not reach an upstream goes to the next one; one that may have is
// repeated only if it is idempotent and has no body. An upstream with a path is asked
// for what is below it. 400: the request would lead out of that path; 502: no
// upstream answered; 504: none in time.
func Proxy(c Context) (http.Handler, error) {
	urls, err := parseProxyOptions(c.Options)
	if err != nil {
		return nil, err
	}
	up := &upstreams{transport: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: upstreamDial}).DialContext,
		MaxIdleConnsPerHost:   upstreamIdle,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   upstreamDial,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // what the client and the upstream agree on passes
	}}
	for _, u := range urls {
		up.list = append(up.list, &upstream{url: u})
	}
	return &httputil.ReverseProxy{
		Rewrite:      rewrite,
		Transport:    up,
		ErrorLog:     newErrorLog(c.Logger, "http proxy"),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { proxyFailed(w, r, err, c.Logger) },
	}, nil
}

// rewrite sets what the upstream is told. Rewrite, unlike Director, has removed
// the client's own X-Forwarded-* and Forwarded before.
func rewrite(pr *httputil.ProxyRequest) {
	pr.SetXForwarded()
	pr.Out.Host = pr.In.Host
	// ReverseProxy has removed what net/url cannot parse ("a;b", "%zz"), lest a
	// Rewrite that looks at parameters sees others than the upstream. This one does not.
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery
	pr.Out.Header.Set("X-Forwarded-Proto", Scheme(pr.In))
	// What a trusted proxy said is still there, see forwarding.
	if host := pr.In.Header.Get("X-Forwarded-Host"); host != "" {
		pr.Out.Header.Set("X-Forwarded-Host", host)
	}
}

func proxyFailed(w http.ResponseWriter, r *http.Request, err error, log *slog.Logger) {
	var ne net.Error
	status := http.StatusBadGateway
	switch {
	case bodyTooLarge(err):
		refuseBody(w, r)
		return
	case errors.Is(context.Cause(r.Context()), ErrRequestTimeout):
		return // answered and logged
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // the client is gone
	case errors.Is(err, errOutside):
		http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
		return
	case errors.As(err, &ne) && ne.Timeout():
		status = http.StatusGatewayTimeout
	}
	log.Warn("upstream failed", "event", "request.upstream", "status", status, "method", r.Method, "path", r.URL.Path, "error", err)
	http.Error(w, http.StatusText(status), status)
}

type upstream struct {
	url *url.URL
	// Asked last until then; nil: in its turn. Not a number: a clock that is set
	// must not make it longer.
	until atomic.Pointer[time.Time]
}

// errOutside is a request that would lead out of the path of its upstream.
var errOutside = errors.New("the path leads out of the upstream's")

// target turns what the client asks for into what the upstream is asked for: below
// its path, if it has one, and otherwise as it is. ".." is for the upstream to
// understand, but not where that would lead to what is beside its path; how it reads
// a backslash is not known.
func (up *upstream) target(u *url.URL) error {
	u.Scheme, u.Host = up.url.Scheme, up.url.Host
	base := strings.TrimSuffix(up.url.Path, "/")
	if base == "" {
		return nil
	}
	for e := range strings.FieldsFuncSeq(u.Path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if e == ".." {
			return errOutside
		}
	}
	escaped := u.EscapedPath()
	if !strings.HasPrefix(escaped, "/") { // OPTIONS *
		escaped, u.Path = "/"+escaped, "/"+u.Path
	}
	u.Path, u.RawPath = base+u.Path, strings.TrimSuffix(up.url.EscapedPath(), "/")+escaped
	return nil
}

// upstreams chooses who answers. It is an http.RoundTripper.
type upstreams struct {
	list      []*upstream
	next      atomic.Uint64
	transport *http.Transport
}

func (u *upstreams) RoundTrip(r *http.Request) (*http.Response, error) {
	body := &guardedBody{ReadCloser: r.Body}
	if r.Body == nil || r.Body == http.NoBody {
		body = nil
	}
	var last error
	for _, up := range u.order() {
		out := r.Clone(r.Context())
		if err := up.target(out.URL); err != nil {
			last = err
			break
		}
		if body != nil {
			out.Body = body
		}
		resp, err := u.transport.RoundTrip(out)
		if err == nil {
			up.until.Store(nil)
			return resp, nil
		}
		last = err
		if r.Context().Err() != nil {
			break
		}
		unreached := isDial(err)
		if unreached {
			until := time.Now().Add(upstreamRest)
			up.until.Store(&until)
		}
		if body != nil && (!unreached || body.touched.Load()) || body == nil && !unreached && !idempotent(r.Method) {
			break
		}
	}
	if body != nil {
		_ = body.ReadCloser.Close()
	}
	return nil, last
}

// order returns the upstreams in turn, those that rest at the end.
func (u *upstreams) order() []*upstream {
	n := len(u.list)
	if n == 1 {
		return u.list
	}
	start, now := int(u.next.Add(1)%uint64(n)), time.Now()
	order := make([]*upstream, 0, n)
	var resting []*upstream
	for i := range n {
		up := u.list[(start+i)%n]
		if until := up.until.Load(); until != nil && until.After(now) {
			resting = append(resting, up)
		} else {
			order = append(order, up)
		}
	}
	return append(order, resting...)
}

// isDial reports whether a request failed before anything was sent.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// guardedBody survives the transport's Close after a failed dial, so that the
// next upstream can be sent the body, and knows when that is too late. The
// server closes the body itself when the handler returns.
type guardedBody struct {
	io.ReadCloser
	touched atomic.Bool
}

func (b *guardedBody) Read(p []byte) (int, error) {
	b.touched.Store(true)
	return b.ReadCloser.Read(p)
}

func (b *guardedBody) Close() error { return nil }
