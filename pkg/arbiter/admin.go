package arbiter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/handoff"
)

// admin is the address for probes and monitoring. It follows the configuration
// that is in force: a reload that changes it opens the new one beside the old one
// and then lets the old one go. When the new one cannot be opened the old one
// stays, and the log says so; that is no reason to fail a reload whose workers
// serve already. It belongs to the loop, but for what it serves.
type admin struct {
	followed config.Admin           // what was last acted on, with or without success
	bound    string                 // where it answers; "" = nowhere
	token    atomic.Pointer[string] // path of the file, read at each action
	cancel   context.CancelFunc     // ends the present server
	serving  sync.WaitGroup
}

// openAdmin opens the address before anything is started. As with the sockets of
// workers, an address that is taken is tried again for a while. A younger arbiter
// waits for its promotion: until then the older one answers.
func (l *loop) openAdmin(b *backend) (code int, ok bool) {
	cfg := l.Config.Admin
	if cfg.Bind == "" || l.Lineage.Parent != 0 {
		return 0, true
	}
	l.admin.followed = cfg
	for try := 1; ; try++ {
		ln, err := listenAdmin(cfg.Bind)
		if err == nil {
			l.serveAdmin(b, cfg, ln)
			return 0, true
		}
		if !bindsLater(err) || try == bindTries {
			l.Logger.Error(err.Error())
			return codeRuntimeFailure, false
		}
		l.Logger.Warn(err.Error(), "retry_in", bindDelay)
		if l.stopWithin(bindDelay) {
			return 0, false
		}
	}
}

// listenAdmin opens the address; bounded, for a name may have to be looked up.
func listenAdmin(bind string) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(background, bindTries*bindDelay)
	defer cancel()
	ln, err := new(net.ListenConfig).Listen(ctx, handoff.TCPNetwork(bind), bind)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		var sys *os.SyscallError
		if errors.As(err, &sys) {
			err = sys.Err
		}
		return nil, fmt.Errorf("cannot bind admin.bind %s: %w", bind, err)
	}
	return ln, nil
}

// serveAdmin answers on ln, and no more on what was served before.
func (l *loop) serveAdmin(b *backend, cfg config.Admin, ln net.Listener) {
	l.endAdmin()
	ctx, cancel := context.WithCancel(background)
	l.admin.cancel, l.admin.bound = cancel, cfg.Bind
	l.setToken(cfg.TokenFile)
	options := control.AdminOptions{Token: l.admin.readToken, Logger: l.Logger, Metrics: l.metricsHandler(b)}
	l.log(record{slog.LevelInfo, "server.listening", "admin address listening at", []slog.Attr{slog.String("address", "http://"+ln.Addr().String())}})
	l.admin.serving.Go(func() {
		if err := control.ServeAdmin(ctx, ln, b, options); err != nil {
			l.Logger.Error("admin address failed", "error", err.Error())
		}
	})
}

// endAdmin closes the address; what is being answered there has a moment.
func (l *loop) endAdmin() {
	if l.admin.cancel != nil {
		l.admin.cancel()
	}
	l.admin.cancel, l.admin.bound = nil, ""
}

// closeAdmin ends it for good.
func (l *loop) closeAdmin() {
	l.endAdmin()
	l.admin.serving.Wait()
}

// followAdmin brings the address in line with the configuration in force, after a
// reload or at a promotion. To look up and bind may take its time, so it is done
// beside the loop.
func (l *loop) followAdmin() {
	cfg := l.config().Admin
	if cfg == l.admin.followed || l.Lineage.Parent != 0 || l.core.stop.asked {
		return
	}
	l.admin.followed = cfg
	switch {
	case cfg.Bind == "":
		l.endAdmin()
		return
	case cfg.Bind == l.admin.bound:
		l.setToken(cfg.TokenFile)
		return
	case portOf(cfg.Bind) == portOf(l.admin.bound):
		l.endAdmin() // the two would be in each other's way
	}
	l.watching.Go(func() {
		ln, err := l.bindAdmin(cfg.Bind)
		take := func() { l.adminBound(cfg, ln, err) }
		select {
		case l.facts <- take:
		case <-l.ended:
			if ln != nil {
				_ = ln.Close()
			}
		}
	})
}

// bindAdmin tries as openAdmin does, until the loop ends.
func (l *loop) bindAdmin(bind string) (net.Listener, error) {
	again := time.NewTimer(bindDelay)
	defer again.Stop()
	for try := 1; ; try++ {
		ln, err := listenAdmin(bind)
		if err == nil || !bindsLater(err) || try == bindTries {
			return ln, err
		}
		again.Reset(bindDelay)
		select {
		case <-again.C:
		case <-l.ended:
			return nil, err
		}
	}
}

func (l *loop) adminBound(cfg config.Admin, ln net.Listener, err error) {
	switch {
	case err != nil:
		l.Logger.Error(err.Error(), "serving", l.admin.bound)
	case cfg != l.admin.followed:
		_ = ln.Close() // another reload has come in between
	default:
		if tcp, ok := ln.Addr().(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
			l.Logger.Warn("the admin address is open on all interfaces", "address", cfg.Bind)
		}
		l.serveAdmin(l.backend, cfg, ln)
	}
}

func portOf(bind string) string { return bind[strings.LastIndexByte(bind, ':')+1:] }

// maxToken bounds the token file, in bytes.
const maxToken = 4 << 10

// setToken changes the file, and says once what is wrong with it.
func (l *loop) setToken(path string) {
	l.admin.token.Store(&path)
	if path == "" {
		return
	}
	_, mode, err := tokenFile(path)
	switch {
	case err != nil:
		l.Logger.Warn("the admin address takes no actions", "error", err.Error())
	case mode.Perm()&0o044 != 0:
		l.Logger.Warn("admin.token_file can be read by other users", "path", path, "mode", fmt.Sprintf("%#o", mode.Perm()))
	}
}

// readToken is asked at each action, on the goroutine of its connection.
func (a *admin) readToken() (string, error) {
	path := a.token.Load()
	if path == nil || *path == "" {
		return "", errors.New("no admin.token_file is set")
	}
	token, _, err := tokenFile(*path)
	return token, err
}

// tokenFile reads the token. Who else can read the file is a matter for a warning:
// a secret that Kubernetes mounts is readable by its group or by all. But a file
// that others can write is no secret of ours, so its token does not count.
func tokenFile(path string) (token string, mode os.FileMode, err error) {
	// Without O_NONBLOCK to open a pipe would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", 0, fmt.Errorf("cannot read admin.token_file: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", 0, fmt.Errorf("cannot read admin.token_file: %w", err)
	}
	mode = st.Mode()
	switch {
	case !mode.IsRegular():
		return "", mode, fmt.Errorf("cannot use admin.token_file %s: must be a regular file", path)
	case mode.Perm()&0o022 != 0:
		return "", mode, fmt.Errorf("cannot use admin.token_file %s: mode %#o lets other users write it", path, mode.Perm())
	case st.Size() > maxToken:
		return "", mode, fmt.Errorf("cannot use admin.token_file %s: must be at most %d bytes", path, maxToken)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return "", mode, fmt.Errorf("cannot read admin.token_file: %w", err)
	}
	token = strings.TrimSpace(string(text))
	if token == "" {
		return "", mode, fmt.Errorf("cannot use admin.token_file %s: it is empty", path)
	}
	return token, mode, nil
}
