package worker_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/gofork/gofork/pkg/worker"
)

// A worker's whole life, with sockets and signals of the caller's own: so a program
// tests its handler as gofork runs it.
func ExampleRun() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	factory := func(c worker.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "%s from slot %d", c.Options["greeting"], c.Slot)
		}), nil
	}
	ready, signals, ended := make(chan struct{}), make(chan os.Signal, 1), make(chan int)
	go func() {
		ended <- worker.Run(context.Background(),
			worker.Spec{Slot: 1, Options: map[string]any{"greeting": "welcome"}}, factory,
			worker.Options{
				Listeners: []net.Listener{ln},
				Signals:   signals,
				Logger:    slog.New(slog.DiscardHandler),
				Notify: func(message string) error {
					if message == "READY=1" {
						close(ready)
					}
					return nil
				},
			})
	}()
	<-ready
	resp, err := http.Get("http://" + ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Println(string(body), err)
	http.DefaultClient.CloseIdleConnections()

	signals <- syscall.SIGTERM // it drains
	fmt.Println("exit code", <-ended)
	// Output:
	// welcome from slot 1 <nil>
	// exit code 0
}

func ExampleValidateOptions() {
	fmt.Println(worker.ValidateOptions("proxy", map[string]any{"upstream": "http://127.0.0.1:9000/app"}))
	fmt.Println(worker.ValidateOptions("static", map[string]any{"rot": "/srv/www"}))
	// Output:
	// <nil>
	// cannot load handler "static": option "rot": cannot use "/srv/www": unknown option, known: root
}
