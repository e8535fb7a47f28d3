// Command goactivation is a web server as one writes it for systemd: sockets
// from socket activation, READY=1, a heartbeat, and a drain that loses no
// request. It knows nothing of gofork.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// drainDelay is how long clients that keep their connection get to learn that it
// closes: longer than they pause between two requests.
const drainDelay = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := serve(ctx); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context) error {
	listeners, err := activation.Listeners()
	if err != nil {
		return err
	}
	if len(listeners) == 0 {
		return errors.New("no socket was passed (LISTEN_FDS)")
	}
	var draining atomic.Bool
	srv := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if draining.Load() {
				w.Header().Set("Connection", "close")
			}
			handle(w, r)
		}),
	}
	var serving sync.WaitGroup
	for _, l := range listeners {
		serving.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				log.Print(err)
			}
		})
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return err
	}
	beating := make(chan struct{})
	go func() { defer close(beating); beat(ctx) }()
	<-ctx.Done()
	<-beating
	if _, err := daemon.SdNotify(false, daemon.SdNotifyStopping); err != nil {
		log.Print(err)
	}

	// The listener first: what waits in its queue is for the other workers.
	// Shutdown closes what is idle, which would cross requests on their way, so
	// it comes when the clients have been told.
	draining.Store(true)
	for _, l := range listeners {
		if err := l.Close(); err != nil {
			log.Print(err)
		}
	}
	serving.Wait()
	<-time.NewTimer(drainDelay).C
	return srv.Shutdown(context.WithoutCancel(ctx))
}

// beat sends the heartbeat, if the supervisor asks for one, until ctx ends.
func beat(ctx context.Context) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil || limit == 0 {
		return
	}
	ticker := time.NewTicker(limit / 3)
	defer ticker.Stop()
	for {
		if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
			log.Print(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func handle(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/echo":
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if _, err := w.Write(body); err != nil {
			log.Print(err)
		}
		return
	case "/sleep":
		d, err := time.ParseDuration(r.URL.Query().Get("ms") + "ms")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		timer := time.NewTimer(min(d, time.Minute))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
	}
	fmt.Fprint(w, os.Getpid())
}
