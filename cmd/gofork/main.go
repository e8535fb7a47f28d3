// Command gofork serves an application and keeps its companions running.
package main

import (
	"github.com/gofork/gofork/pkg/cli"
	"github.com/gofork/gofork/pkg/companion"
	"github.com/gofork/gofork/pkg/worker"
)

func main() {
	cli.App{
		Handlers: map[string]worker.Factory{
			"hello":  worker.Hello,
			"static": worker.Static,
			"proxy":  worker.Proxy,
		},
		Companions: map[string]companion.Func{
			"ticker": companion.Ticker,
		},
	}.Main()
}
