package control

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The bounds of what a peer may cost.
const (
	maxConns  = 64
	maxBody   = 1 << 20  // bytes
	maxUnread = 16 << 20 // bytes of a larger body that are taken and dropped
	maxHeader = 16 << 10 // bytes; net/http adds 4 KiB of its own

	headerTimeout = 5 * time.Second  // from the first byte of a request to the end of its header
	readTimeout   = 10 * time.Second // to the end of its body
	writeTimeout  = 10 * time.Second // to take one answer, or one piece of a stream
	idleTimeout   = 5 * time.Second  // between two requests; short, for an idle peer holds one of the slots

	endGrace = time.Second            // for answers that are being made when the server ends
	endFlush = 100 * time.Millisecond // after it, for telling the others why there is none
)

// Options are what [Serve] needs to know beside the Backend.
type Options struct {
	SelfUID   uint32   // gofork's own user; allowed as root is
	AllowUIDs []uint32 // who else is
	Logger    *slog.Logger
	Metrics   http.Handler // for GET /metrics; nil: 404
	MaxConns  int          // at a time, more wait their turn; 0: 64
}

// Serve answers requests on a unix socket until ctx ends: then it accepts no more,
// ends the streams, lets the answers that are being made finish within a second,
// and returns nil. It returns an error only when it cannot accept any more.
//
// Serve closes ln. Whoever owns the socket's file must have seen to it that this
// does not unlink it, as [Socket.Listener] does.
func Serve(ctx context.Context, ln net.Listener, b Backend, o Options) error {
	return serve(ctx, ln, b, serving{
		admit: func(r *http.Request) *Error {
			found, _ := r.Context().Value(peerKey{}).(peerOutcome)
			return o.refuse(found)
		},
		stranger:    func(c net.Conn) bool { return o.refuse(lookAt(c)) != nil },
		connContext: withPeer, logger: o.Logger, metrics: o.Metrics, conns: o.MaxConns,
	})
}

// refuse says why a peer is not let in, nil for one that is.
func (o *Options) refuse(found peerOutcome) *Error {
	if found.err != nil {
		return Errorf(http.StatusForbidden, CodeForbidden, "%v", found.err)
	}
	uid := found.peer.UID
	if uid == 0 || uid == o.SelfUID || slices.Contains(o.AllowUIDs, uid) {
		return nil
	}
	return Errorf(http.StatusForbidden, CodeForbidden,
		"cannot let user %d in: neither root, nor gofork's own user, nor in control.allow_uids", uid)
}

// AdminOptions are what [ServeAdmin] needs to know beside the Backend.
type AdminOptions struct {
	// Token is asked at each action, so that a changed file counts at once.
	// nil, or an empty token: no actions.
	Token    func() (string, error)
	Logger   *slog.Logger
	Metrics  http.Handler
	MaxConns int
}

// ServeAdmin is [Serve] for a network address, where nobody knows who the peer is:
// everybody may read, and only who shows the token may act.
func ServeAdmin(ctx context.Context, ln net.Listener, b Backend, o AdminOptions) error {
	admit := func(r *http.Request) *Error {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return nil
		}
		return checkToken(r, o.Token)
	}
	nobody := func(net.Conn) bool { return false } // can be told from others before it has asked
	return serve(ctx, ln, b, serving{admit: admit, stranger: nobody, logger: o.Logger, metrics: o.Metrics, conns: o.MaxConns})
}

func checkToken(r *http.Request, read func() (string, error)) *Error {
	if read == nil {
		return Errorf(http.StatusForbidden, CodeForbidden, "cannot act through the admin address: no admin.token_file is set")
	}
	want, err := read()
	if err != nil {
		return Errorf(http.StatusForbidden, CodeForbidden, "cannot act through the admin address: %v", err)
	}
	if want == "" {
		return Errorf(http.StatusForbidden, CodeForbidden, "cannot act through the admin address: admin.token_file is empty")
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	// Hashed first: the comparison must not tell the length either.
	got, expected := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(want))
	if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], expected[:]) != 1 {
		return Errorf(http.StatusUnauthorized, CodeUnauthorized, "cannot act through the admin address: no token, or a wrong one")
	}
	return nil
}

// serving is what the two kinds of address differ in.
type serving struct {
	admit       func(*http.Request) *Error
	stranger    func(net.Conn) bool // will not be admitted, whatever it asks
	connContext func(context.Context, net.Conn) context.Context
	logger      *slog.Logger
	metrics     http.Handler
	conns       int
}

func serve(ctx context.Context, ln net.Listener, b Backend, s serving) error {
	if s.conns <= 0 {
		s.conns = maxConns
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	door := newGate(ln, s.conns, s.stranger, ctx.Done())
	// Answers outlive ctx by endGrace, so requests have a context of their own.
	requests, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()

	var open sync.WaitGroup // goroutines of connections; all are added by srv.Serve's own
	srv := &http.Server{
		Handler:                      newHandler(b, s.admit, s.metrics, s.logger, door), //nolint:contextcheck // each request brings its own
		BaseContext:                  func(net.Listener) context.Context { return requests },
		ConnContext:                  s.connContext,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  readTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed, http.StateHijacked:
				open.Done()
			default: // on its way between the two
			}
		},
	}

	accepted := make(chan error, 1)
	go func() { accepted <- srv.Serve(door) }()
	var acceptErr error
	select {
	case acceptErr = <-accepted:
	case <-ctx.Done():
	}
	end(srv, abandon) //nolint:contextcheck // ctx has ended, that is why
	if acceptErr == nil {
		acceptErr = <-accepted
	}
	open.Wait()
	if ctx.Err() != nil || errors.Is(acceptErr, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("cannot accept control connections at %s: %w", ln.Addr(), acceptErr)
}

// end lets answers finish, then ends what they wait for, then cuts what is left.
func end(srv *http.Server, abandon context.CancelFunc) {
	within := func(d time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		return srv.Shutdown(ctx)
	}
	err := within(endGrace)
	abandon()
	if err != nil {
		err = within(endFlush)
	}
	if err != nil {
		_ = srv.Close() // its error is the listener's, which is closed already
	}
}
