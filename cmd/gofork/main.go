// Command gofork serves an application and keeps its companions running.
package main

import (
	"github.com/gofork/gofork/pkg/cli"
	"github.com/gofork/gofork/pkg/companion"
	"github.com/gofork/gofork/pkg/worker"
)

// version is set by the linker (see the Makefile); without it the toolchain's
// record of the module counts.
var version string

func main() {
	cli.App{
		Version:        version,
		Handlers:       worker.Stock(),
		HandlerOptions: worker.ValidateOptions,
		Companions:     map[string]companion.Func{"ticker": companion.Ticker},
	}.Main()
}
