//go:build linux

package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// configuration is what is varied of the file.
type configuration struct {
	workers   int
	surge     int    // 0 = the default
	version   int    // of the workers
	guards    int    // instances
	guardsVer int    // of their spec
	extra     bool   // one companion more
	web       string // instead of the handler: what the workers run
	boot      string // boot_timeout
	bind      string // one address more
	more      string // appended: tables, or nonsense
}

// beat is the timeout of heartbeats.
const beat = 6 * time.Second

// isRestless tells the companions that end again and again by themselves.
func isRestless(companion string) bool { return companion == "restless" || companion == "churn" }

// baseConfig is what every quiet moment returns to.
func baseConfig() configuration {
	return configuration{workers: 4, guards: 3, boot: "20s"}
}

func (r *run) write(c configuration) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	bind := fmt.Sprintf("%q", r.addr)
	if c.bind != "" {
		bind += fmt.Sprintf(", %q", c.bind)
	}
	line("[server]\nbind = [%s]\nruntime_dir = %q\npidfile = %q\ngraceful_timeout = \"10s\"", bind, filepath.Join(r.dir, "run"), filepath.Join(r.dir, "app.pid"))
	line("[worker]\ncount = %d\nready = \"notify\"\nboot_timeout = %q\ntimeout = %q\nabort_grace = \"500ms\"\ndrain_delay = \"500ms\"", c.workers, c.boot, beat)
	if c.surge > 0 {
		line("max_surge = %d", c.surge)
	}
	if c.web == "" {
		line(`handler = "hello"`)
	} else {
		line("command = [%s]", c.web)
	}
	line("env = { VERSION = \"%d\" }", c.version)
	line("[companion_defaults]\nbackoff_initial = \"100ms\"\nbackoff_max = \"500ms\"\nstop_timeout = \"5s\"\nreload_timeout = \"5s\"\nstartsecs = \"200ms\"")
	companion := func(name, role string, keys ...string) {
		line("[companion.%s]\ncommand = [%q, %q, %q]\n%s", name, r.bin.child, role, filepath.Join(r.dir, name), strings.Join(keys, "\n"))
	}
	companion("guard", "exclusive", fmt.Sprintf("numprocs = %d\nenv = { VERSION = \"%d\" }", c.guards, c.guardsVer))
	companion("family", "family")
	companion("stubborn", "stubborn", `stop_timeout = "700ms"`, `reload_timeout = "700ms"`)
	companion("restless", "restless", `startsecs = "0s"`, `backoff_initial = 0`)
	companion("spew", "spew", fmt.Sprintf("stdout = %q", filepath.Join(r.full, "spew.log")), `log_max_size = "256KiB"`, `log_backups = 2`)
	if c.extra {
		companion("extra", "exclusive")
	}
	line("%s", c.more)
	// Beside and renamed: a reload of the moment before reads one or the other.
	temporary := r.file() + ".new"
	if err := os.WriteFile(temporary, []byte(b.String()), 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(temporary, r.file()); err != nil {
		r.t.Fatal(err)
	}
}

// better returns a configuration that has to be taken up.
func (r *run) better() configuration {
	c := baseConfig()
	c.version, c.surge = r.rng.IntN(1000), r.rng.IntN(3)
	c.workers = 3 + r.rng.IntN(3)
	c.guards = 2 + r.rng.IntN(3)
	c.guardsVer = r.rng.IntN(3)
	c.extra = r.rng.IntN(2) == 0
	return c
}

// broken returns a configuration that has to be refused, and how it is broken.
func (r *run) broken(taken string) (configuration, string) {
	c := baseConfig()
	c.version = r.rng.IntN(1000)
	c.guardsVer = 100 + r.rng.IntN(3) // never seen when the reload fails as a whole
	command := func(args ...string) string {
		quoted := []string{fmt.Sprintf("%q", r.bin.child)}
		for _, a := range args {
			quoted = append(quoted, fmt.Sprintf("%q", a))
		}
		return strings.Join(quoted, ", ")
	}
	kinds := []struct {
		name  string
		spoil func()
	}{
		{"app exits with 3", func() { c.web = command("exit", "3") }},
		{"app exits with 4", func() { c.web = command("exit", "4") }},
		{"app exits with 0", func() { c.web = command("exit", "0") }},
		{"app crashes", func() { c.web = command("crash") }},
		{"app hangs", func() { c.web, c.boot = command("hang"), "1s" }},
		{"program is missing", func() { c.web = `"/no/such/program"` }},
		{"port is taken", func() { c.bind = taken }},
		{"unknown key", func() { c.more = "[server.nonsense]\nkey = 1" }},
		{"not TOML", func() { c.more = "= = =" }},
	}
	k := kinds[r.rng.IntN(len(kinds))]
	k.spoil()
	return c, k.name
}
