package launch_test

import (
	"fmt"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/launch"
)

// A child has gofork's own environment without what was meant for gofork alone, then
// what the configuration adds, then what it is told of itself.
func ExampleEnvironment_Of() {
	e := launch.NewEnvironment([]string{"PATH=/bin", "LANG=C", "NOTIFY_SOCKET=/run/systemd/notify", "GOFORK_SOCKET=/run/app.sock"})
	p := &config.Process{Env: map[string]string{"LANG": "en_US.UTF-8", "GOFORK_INSTANCE": "mine"}}
	for _, kv := range e.Of(p, "GOFORK_INSTANCE=2") {
		fmt.Println(kv)
	}
	// Output:
	// PATH=/bin
	// LANG=en_US.UTF-8
	// GOFORK_INSTANCE=2
}
