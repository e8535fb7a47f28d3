package config_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/gofork/gofork/pkg/config"
)

// written is a configuration file, which the caller removes.
func written(text string) (path string, remove func()) {
	dir, err := os.MkdirTemp("", "config-")
	if err != nil {
		log.Fatal(err)
	}
	path = filepath.Join(dir, "shop.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		log.Fatal(err)
	}
	return path, func() { _ = os.RemoveAll(dir) }
}

const shop = `
[server]
graceful_timeout = "20s"

[worker]
command = "node server.js"
count = 2

[companion.mailer]
command = ["node", "mailer.js", "${QUEUE:-default}"]
stop_timeout = "30s"
`

func ExampleLoad() {
	path, remove := written(shop)
	defer remove()
	c, err := config.Load(config.Source{
		Path:    path,
		Environ: []string{"QUEUE=urgent", "GOFORK_COMPANION__MAILER__NUMPROCS=2"},
		Set:     []config.Setting{{Key: "worker.count", Value: "4", Flag: "--workers"}},
	}, config.Known{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Name, c.Worker.Count, c.Worker.Command)
	mailer, _ := c.Companion("mailer")
	fmt.Println(mailer.Numprocs, mailer.Command)
	fmt.Println(c.StopBudget())
	cause, _ := c.StopBudgetCause()
	fmt.Println(cause)
	// Output:
	// shop 4 [node server.js]
	// 2 [node mailer.js urgent]
	// 41s
	// companion mailer: stop_timeout 30s + manager.shutdown_buffer 10s
}

// Everything that is wrong is reported at once, and can be taken apart.
func ExampleProblems() {
	path, remove := written("[worker]\ncomand = [\"node\"]\ncount = -1\n")
	defer remove()
	_, err := config.Load(config.Source{Path: path}, config.Known{})
	var problems config.Problems
	if !errors.As(err, &problems) {
		log.Fatal(err)
	}
	for _, p := range problems {
		fmt.Printf("line %d, %s: %s (%s)\n", p.Line, p.Key, p.Rule, p.Nearest)
	}
	// Output:
	// line 2, worker.comand: unknown key (command)
	// line 3, worker.count: must be a number from 1 to 1024, or "auto" ()
}

// What a reload would change. A companion is restarted when its hash differs, and
// numprocs is no part of it.
func ExampleDiff() {
	load := func(text string) *config.Config {
		path, remove := written(text)
		defer remove()
		c, err := config.Load(config.Source{Path: path}, config.Known{})
		if err != nil {
			log.Fatal(err)
		}
		return c
	}
	const head = "[worker]\ncommand = [\"node\", \"server.js\"]\n"
	before := load(head + "[companion.mailer]\ncommand = [\"mailer\"]\n[companion.old]\ncommand = [\"old\"]\n")
	after := load(head + "[companion.mailer]\ncommand = [\"mailer\"]\nnumprocs = 2\n[companion.new]\ncommand = [\"new\"]\n")
	change := config.Diff(before, after)
	fmt.Println("added", change.Added, "removed", change.Removed, "changed", change.Changed)
	fmt.Println("scaled", change.Scaled, change.Keys["mailer"])
	// Output:
	// added [new] removed [old] changed []
	// scaled [mailer] [numprocs]
}

// A value of a variable is never shown.
func ExampleConfig_Effective() {
	path, remove := written("[worker]\ncommand = [\"node\"]\nenv = { TOKEN = \"secret\" }\n")
	defer remove()
	c, err := config.Load(config.Source{Path: path}, config.Known{})
	if err != nil {
		log.Fatal(err)
	}
	worker := c.Effective()["worker"].(map[string]any)
	fmt.Println(config.FormatValue(worker["env"]))
	// Output: { TOKEN = "********" }
}
