// Command app is a plain net/http server, for comparison: alone, on an address
// of its own, or as a worker, on the socket that it is handed (LISTEN_FDS).
//
// usage: app [HOST:PORT]
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	listener, err := listen(ctx)
	if err != nil {
		log.Fatal(err)
	}
	pid := os.Getpid()
	srv := &http.Server{
		// As long an answer as that of the handler it is compared with.
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "hello from gofork: slot 1 pid %d generation 1\n", pid)
		}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	if err := ready(); err != nil {
		log.Fatal(err)
	}
	select {
	case err := <-served:
		log.Fatal(err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		log.Print(err)
	}
}

func listen(ctx context.Context) (net.Listener, error) {
	if os.Getenv("LISTEN_FDS") != "" {
		return net.FileListener(os.NewFile(3, "listener"))
	}
	if len(os.Args) != 2 {
		return nil, fmt.Errorf("usage: app HOST:PORT, or LISTEN_FDS")
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", os.Args[1])
}

// ready says READY=1 to who asked for it, see sd_notify(3).
func ready() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte("READY=1"))
	return err
}
