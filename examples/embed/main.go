// Command embed is a program that brings its own handler and companions: it is
// the web server, the queue and the supervisor of both. See docs/embedding.md.
package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gofork/gofork/pkg/cli"
	"github.com/gofork/gofork/pkg/companion"
	"github.com/gofork/gofork/pkg/worker"
)

func main() {
	cli.App{
		Name:       "shop",
		Handlers:   map[string]worker.Factory{"shop": shop},
		Companions: map[string]companion.Func{"mailer": mailer, "warmup": warmup},
	}.Main()
}

// shop is called once in each worker process, before the worker is ready.
func shop(c worker.Context) (http.Handler, error) {
	greeting, ok := c.Options["greeting"].(string)
	if !ok {
		return nil, fmt.Errorf("cannot use options.greeting %v: must be a string", c.Options["greeting"])
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s, slot %d\n", greeting, c.Slot)
	})
	return mux, nil
}

// mailer runs in a process of its own until ctx ends: its stop signal has come.
func mailer(ctx context.Context, t companion.Target) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		t.Logger.Info("mail sent", "number", n, "instance", t.Instance)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// warmup does its work and returns; "shop.toml" says that this was all.
func warmup(_ context.Context, t companion.Target) error {
	t.Logger.Info("warm", "key", t.Options["key"])
	return nil
}
