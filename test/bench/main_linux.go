package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one thing that can be measured, by the name that selects it.
type bench struct {
	name string
	what string
	run  func(*lab)
}

// benches is in the order of the table.
func benches() []bench {
	return []bench{
		{"boot", "until the first 200", bootBench},
		{"start", "start, memory and stop of N companions", startBench},
		{"idle", "context switches and CPU of N idle companions' supervisors", idleBench},
		{"replace", "SIGKILL until the replacement is executed", replaceBench},
		{"requests", "requests a second through workers", requestsBench},
		{"weight", "memory of a worker that serves", weightBench},
		{"reload", "three reloads at 500 requests a second", reloadBench},
		{"changed", "reload with one of many specs changed", changedBench},
		{"capture", "lines captured to a rotated file", captureBench},
	}
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	var opts options
	flag.StringVar(&opts.gofork, "gofork", "bin/gofork", "the `binary` to measure")
	flag.StringVar(&opts.only, "only", "", "measure these alone, a `list` with commas")
	flag.StringVar(&opts.json, "json", "", "write the figures to this `file`, too")
	flag.BoolVar(&opts.quick, "quick", false, "fewer and shorter rounds: below two minutes")
	flag.IntVar(&opts.rounds, "rounds", 0, "rounds; default 5, quick 3")
	flag.BoolVar(&opts.peers, "peers", true, "measure other supervisors that are on PATH")
	flag.Parse()
	selected, err := opts.selected()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	l, err := open(ctx, opts)
	if err != nil {
		return err
	}
	defer l.close()
	head := describe(l)
	fmt.Print(head)
	for _, b := range selected {
		if ctx.Err() != nil {
			break
		}
		began := time.Now()
		l.current = b.name
		b.run(l)
		fmt.Printf("\n%s: %s (%.0f s, load %s)\n", b.name, b.what, time.Since(began).Seconds(), loadAverage())
		l.table(os.Stdout, b.name)
	}
	if opts.json != "" {
		return l.writeJSON(opts.json, head)
	}
	return nil
}

type options struct {
	gofork, only, json string
	quick, peers       bool
	rounds             int
}

func (o *options) selected() ([]bench, error) {
	all := benches()
	if o.only == "" {
		return all, nil
	}
	var some []bench
	for name := range strings.SplitSeq(o.only, ",") {
		name = strings.TrimSpace(name)
		if name == "memory" || name == "stop" {
			name = "start" // of the same run
		}
		i := slices.IndexFunc(all, func(b bench) bool { return b.name == name })
		if i < 0 {
			var names []string
			for _, b := range all {
				names = append(names, b.name)
			}
			return nil, fmt.Errorf("cannot measure %q: want one of %s", name, strings.Join(names, ", "))
		}
		if !slices.ContainsFunc(some, func(b bench) bool { return b.name == name }) {
			some = append(some, all[i])
		}
	}
	return some, nil
}

// lab is where it is measured: the programs, a directory, and the figures so far.
type lab struct {
	ctx     context.Context //nolint:containedctx // the lab is one run of main; every process and request of it ends with this
	opts    options
	dir     string
	gofork  string
	floor   string
	app     string
	child   string
	childIs string // what child was made of
	peers   []peer
	current string
	rows    []*row
	ports   int
}

// rounds is how often each subject is measured.
func (l *lab) rounds() int {
	switch {
	case l.opts.rounds > 0:
		return l.opts.rounds
	case l.opts.quick:
		return 3
	}
	return 5
}

// longRounds are those of what takes many seconds each.
func (l *lab) longRounds() int {
	if l.opts.quick && l.opts.rounds == 0 {
		return 1
	}
	return l.rounds()
}

// sizes are the numbers of companions.
func (l *lab) sizes() []int {
	if l.opts.quick {
		return []int{1, 1000}
	}
	return []int{1, 10, 100, 1000}
}

// pick returns the quick or the full value.
func (l *lab) pick(quick, full time.Duration) time.Duration {
	if l.opts.quick {
		return quick
	}
	return full
}

// wait lets a time pass, or the run end.
func (l *lab) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
}

// fail says that a figure could not be taken.
func (l *lab) fail(subject string, err error) {
	if l.ctx.Err() == nil {
		fmt.Printf("%s: %s: not measured: %v\n", l.current, subject, err)
	}
}

// tempDir returns a new directory; it goes with the lab.
func (l *lab) tempDir() (string, error) { return os.MkdirTemp(l.dir, "") }

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }
