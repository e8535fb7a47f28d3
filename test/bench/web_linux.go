package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/gofork/gofork/test/bench/load"
)

// site is something that serves HTTP, as it is started for a measurement.
type site struct {
	name  string
	start func() (p *program, addr string, err error)
	// reload replaces what serves, and returns when nothing is left of what served
	// before; nil when it cannot.
	reload func() error
	stop   syscall.Signal
}

// alone is the application without a supervisor.
func (l *lab) alone(name string) site {
	return site{name: name, stop: syscall.SIGTERM, start: func() (*program, string, error) {
		addr, err := l.freeAddr()
		if err != nil {
			return nil, "", err
		}
		p, err := l.execute(nil, l.dir, l.app, addr)
		return p, addr, err
	}}
}

// under is gofork with a configuration.
func (l *lab) under(name, config string) site {
	var s *server
	return site{
		name: name, stop: syscall.SIGTERM,
		start: func() (*program, string, error) {
			var err error
			if s, err = l.serve(config); err != nil {
				return nil, "", err
			}
			return s.program, s.addr, nil
		},
		reload: func() error { return s.replaceWorkers() },
	}
}

// underNode is gofork with a server of Node.js, where there is one.
func (l *lab) underNode() []site {
	node, err := exec.LookPath("node")
	if err != nil {
		fmt.Printf("%s: gofork node: left out, there is no node on PATH\n", l.current)
		return nil
	}
	file := l.path("server.js")
	if err := os.WriteFile(file, []byte(nodeApp), 0o600); err != nil {
		l.fail("gofork node", err)
		return nil
	}
	return []site{l.under("gofork node", fmt.Sprintf("[worker]\ncount = %d\nready_after = \"500ms\"\ncommand = [%q, %q]\n", peerWorkers, node, file))}
}

func (l *lab) webPeers() []site {
	var all []site
	for _, p := range l.peers {
		if p.web == nil {
			continue
		}
		var s *served
		all = append(all, site{
			name: p.name, stop: p.stop,
			start: func() (*program, string, error) {
				var addr string
				var err error
				if s, addr, err = l.startWebPeer(p); err != nil {
					return nil, "", err
				}
				return s.program, addr, nil
			},
			reload: func() error { return s.reload() },
		})
	}
	return all
}

// first200 asks until the answer is 200, and returns when it came.
func (l *lab) first200(p *program, addr string) (time.Duration, error) {
	conn := load.New(addr, 5*time.Second)
	defer conn.Close()
	request := load.Get("/")
	deadline := time.Now().Add(patience)
	for {
		a, err := conn.Do(l.ctx, request)
		if err == nil && a.Code == http.StatusOK {
			return monotonic(), nil
		}
		select {
		case <-p.ended:
			return 0, fmt.Errorf("no 200 from %s: %s has ended: %s", addr, p.cmd.Path, p.cmd.ProcessState)
		default:
		}
		if time.Now().After(deadline) || l.ctx.Err() != nil {
			return 0, fmt.Errorf("no 200 from %s: status %d, %w", addr, a.Code, err)
		}
		l.wait(100 * time.Microsecond)
	}
}

const twoWorkers = "[worker]\ncount = 2\nready = \"notify\"\n"

// bootBench measures from exec to the first 200. The same application alone is
// what gofork's figure with it as a worker's command is divided by.
func bootBench(l *lab) {
	command := fmt.Sprintf("command = [%q]\n", l.app)
	for range 2 * l.rounds() { // each is short
		for _, c := range []struct {
			name  string
			sites []site
		}{
			{"command app", []site{l.alone("alone"), l.under(itself, "[worker]\ncount = 1\nready = \"notify\"\n"+command)}},
			{"handler hello", []site{l.alone("alone"), l.under(itself, "[worker]\ncount = 1\nhandler = \"hello\"\n")}},
			{"peers", l.webPeers()},
		} {
			for _, s := range c.sites {
				if err := l.bootOnce(c.name, s); err != nil {
					l.fail(s.name, err)
				}
			}
		}
		if l.ctx.Err() != nil {
			return
		}
	}
}

func (l *lab) bootOnce(name string, s site) error {
	p, addr, err := s.start()
	if err != nil {
		return err
	}
	at, err := l.first200(p, addr)
	p.kill() // how it stops is another figure
	if err == nil {
		l.add(name, s.name, "ms", ms(at-p.started))
	}
	return err
}

// requestsBench measures what 32 connections get through.
func requestsBench(l *lab) {
	sites := []site{
		l.alone(plain),
		l.under("gofork handler, 1 worker", "[worker]\ncount = 1\nhandler = \"hello\"\n"),
		l.under("gofork handler", twoWorkers+"handler = \"hello\"\n"),
		l.under("gofork handler reuse_port", "reuse_port = true\n"+twoWorkers+"handler = \"hello\"\n"),
		l.under("gofork command", twoWorkers+fmt.Sprintf("command = [%q]\n", l.app)),
	}
	for range l.rounds() {
		for _, s := range sites {
			if err := l.requestsOnce(s); err != nil {
				l.fail(s.name, err)
			}
			if l.ctx.Err() != nil {
				return
			}
		}
	}
}

func (l *lab) requestsOnce(s site) error {
	p, addr, err := s.start()
	if err != nil {
		return err
	}
	defer p.kill()
	if _, err := l.first200(p, addr); err != nil {
		return err
	}
	plan := load.Plan{Addr: addr, Path: "/", Conns: 32, Timeout: 10 * time.Second}
	warm, cancel := context.WithTimeout(l.ctx, 300*time.Millisecond)
	load.Run(warm, plan)
	cancel()
	window, cancel := context.WithTimeout(l.ctx, l.pick(time.Second, 3*time.Second))
	defer cancel()
	r := load.Run(window, plan)
	if r.Failed > 0 {
		return fmt.Errorf("%d of %d requests failed: %v", r.Failed, r.Requests, r.Errors)
	}
	l.add("requests/s", s.name, "1/s", r.PerSecond())
	l.add("p50", s.name, "ms", ms(r.Quantile(0.5)))
	l.add("p99", s.name, "ms", ms(r.Quantile(0.99)))
	return nil
}

// reloadBench asks 500 times a second over 25 kept connections while everything
// that serves is replaced three times. The floor is the application alone, which
// nobody reloads: what the machine itself does to the worst latency.
func reloadBench(l *lab) {
	sites := slices.Concat(
		[]site{l.alone(bareFloor), l.under(itself, twoWorkers+"handler = \"hello\"\n")},
		l.underNode(), l.webPeers(),
	)
	for range l.longRounds() {
		for _, s := range sites {
			if err := l.reloadOnce(s); err != nil {
				l.fail(s.name, err)
			}
			if l.ctx.Err() != nil {
				return
			}
		}
	}
}

func (l *lab) reloadOnce(s site) error {
	p, addr, err := s.start()
	if err != nil {
		return err
	}
	defer func() {
		if _, err := p.stop(s.stop); err != nil {
			l.fail(s.name, err)
		}
	}()
	if _, err := l.first200(p, addr); err != nil {
		return err
	}
	l.wait(settle)
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	result := make(chan *load.Result, 1)
	go func() {
		result <- load.Run(ctx, load.Plan{Addr: addr, Path: "/", Conns: 25, Rate: 500, Timeout: 10 * time.Second})
	}()
	var failed error
	for range 3 {
		l.wait(time.Second)
		if s.reload != nil && failed == nil {
			began := monotonic()
			failed = s.reload()
			l.add("a reload takes", s.name, "s", (monotonic() - began).Seconds())
		}
		l.wait(settle)
	}
	cancel()
	r := <-result
	if failed != nil {
		return failed
	}
	if r.Failed > 0 {
		fmt.Printf("%s: %s: %d of %d requests failed, the first with %s\n", l.current, s.name, r.Failed, r.Requests, r.Errors[0])
	}
	l.add("asked", s.name, "requests", float64(r.Requests))
	l.add("failed", s.name, "requests", float64(r.Failed))
	l.add("worst latency", s.name, "ms", ms(r.Worst()))
	l.add("p99 latency", s.name, "ms", ms(r.Quantile(0.99)))
	return nil
}
