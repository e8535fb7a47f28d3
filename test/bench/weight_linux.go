package main

import (
	"context"
	"time"

	"github.com/gofork/gofork/test/bench/load"
	"github.com/gofork/gofork/test/bench/ps"
)

// weightBench measures what a handler worker holds in memory while it serves, as
// one of two: against one of two plain net/http processes, which share their
// program in the same way.
func weightBench(l *lab) {
	for range l.rounds() {
		if err := l.weighPlain(); err != nil {
			l.fail(plain, err)
		}
		if err := l.weighWorkers(); err != nil {
			l.fail(itself, err)
		}
		if l.ctx.Err() != nil {
			return
		}
	}
}

func (l *lab) weighPlain() error {
	var pids []int
	var addrs []string
	for range 2 {
		p, addr, err := l.alone(plain).start()
		if err != nil {
			return err
		}
		defer p.kill()
		if _, err := l.first200(p, addr); err != nil {
			return err
		}
		pids, addrs = append(pids, p.cmd.Process.Pid), append(addrs, addr)
	}
	return l.weigh(plain, pids, addrs...)
}

func (l *lab) weighWorkers() error {
	s, err := l.serve(twoWorkers + "handler = \"hello\"\n")
	if err != nil {
		return err
	}
	defer s.end()
	st, err := s.up(0)
	if err != nil {
		return err
	}
	var pids []int
	for _, w := range st.Workers.List {
		pids = append(pids, w.PID)
	}
	return l.weigh(itself, pids, s.addr)
}

// weigh looks after requests that came long after the start: what only the start
// needed is gone by then, and what requests need is there.
func (l *lab) weigh(name string, pids []int, addrs ...string) error {
	l.wait(2 * settle)
	for _, addr := range addrs {
		ctx, cancel := context.WithTimeout(l.ctx, 300*time.Millisecond)
		load.Run(ctx, load.Plan{Addr: addr, Path: "/", Conns: 16 / len(addrs), Timeout: 10 * time.Second})
		cancel()
	}
	var sum int64
	for _, pid := range pids {
		pss, err := ps.Proportional(pid)
		if err != nil {
			return err
		}
		sum += pss
	}
	l.add("memory of one of two that serve", name, "MiB", mib(sum)/float64(len(pids)))
	return nil
}
