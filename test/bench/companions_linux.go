package main

import (
	"fmt"
	"syscall"
	"time"

	"github.com/gofork/gofork/test/bench/ps"
)

// subject is a supervisor of children, as it is started for a measurement.
type subject struct {
	name  string
	start func(n int, env []string) (*program, error)
	stop  syscall.Signal
	pause time.Duration // between two kills of a child
}

// supervisors returns the floor, gofork and the peers. The floor starts a child
// again only in respawn.
func (l *lab) supervisors(respawn bool) []subject {
	all := []subject{
		{name: bareFloor, stop: syscall.SIGTERM, pause: 50 * time.Millisecond, start: func(n int, env []string) (*program, error) {
			argv := []string{l.floor, fmt.Sprint(n), l.child}
			if respawn {
				argv = []string{l.floor, "-respawn", fmt.Sprint(n), l.child}
			}
			return l.execute(env, l.dir, argv...)
		}},
		{name: itself, stop: syscall.SIGTERM, pause: 50 * time.Millisecond, start: func(n int, env []string) (*program, error) {
			s, err := l.serve(companionsOf(n, l.child, "backoff_initial = 0"), env...)
			if err != nil {
				return nil, err
			}
			return s.program, nil
		}},
	}
	for _, p := range l.peers {
		if p.companions == nil {
			continue
		}
		all = append(all, subject{name: p.name, stop: p.stop, pause: p.pause, start: func(n int, env []string) (*program, error) {
			dir, err := l.tempDir()
			if err != nil {
				return nil, err
			}
			args, err := p.companions(dir, l.child, n)
			if err != nil {
				return nil, err
			}
			return l.execute(env, dir, append([]string{p.program}, args...)...)
		}})
	}
	return all
}

// settle is how long a supervisor has to come to rest: startsecs is a second.
const settle = 1500 * time.Millisecond

// startBench measures from exec of the supervisor to exec of the last child, what
// the supervisors then hold in memory, and from the signal to the end of all.
func startBench(l *lab) {
	for range l.rounds() {
		for _, n := range l.sizes() {
			for _, s := range l.supervisors(false) {
				if err := l.startOnce(s, n); err != nil {
					l.fail(fmt.Sprintf("%s with %d", s.name, n), err)
				}
				if l.ctx.Err() != nil {
					return
				}
			}
		}
	}
}

func (l *lab) startOnce(s subject, n int) error {
	r, err := l.reports()
	if err != nil {
		return err
	}
	defer r.close()
	p, err := s.start(n, []string{r.env()})
	if err != nil {
		return err
	}
	children, err := r.take(n)
	if err != nil {
		p.kill()
		return err
	}
	l.wait(settle)
	var pss, anonymous int64
	for _, pid := range p.supervisors(children) {
		one, err := ps.Proportional(pid)
		if err == nil {
			pss += one
			one, err = ps.Anonymous(pid)
			anonymous += one
		}
		if err != nil {
			p.kill()
			return err
		}
	}
	took, err := p.stop(s.stop)
	if err != nil {
		return err
	}
	l.add(fmt.Sprintf("start %d", n), s.name, "ms", ms(last(children)-p.started))
	l.add(fmt.Sprintf("memory %d", n), s.name, "MiB", mib(pss))
	l.add(fmt.Sprintf("heap and stacks %d", n), s.name, "MiB", mib(anonymous))
	l.add(fmt.Sprintf("stop %d", n), s.name, "ms", ms(took))
	return nil
}

// resting is a supervisor whose idleness is measured.
type resting struct {
	subject
	n      int
	p      *program
	pids   []int
	before ps.Cost
}

// idleBench measures all sizes of all supervisors at the same time: what rests
// disturbs nobody.
func idleBench(l *lab) {
	for range l.longRounds() {
		l.idleOnce()
		if l.ctx.Err() != nil {
			return
		}
	}
}

func (l *lab) idleOnce() {
	var all []*resting
	defer func() {
		for _, r := range all {
			if _, err := r.p.stop(r.stop); err != nil {
				l.fail(r.name, err)
			}
		}
	}()
	for _, s := range l.supervisors(false) {
		for _, n := range l.sizes() {
			r, err := l.reports()
			if err != nil {
				l.fail(s.name, err)
				return
			}
			defer r.close()
			p, err := s.start(n, []string{r.env()})
			if err != nil {
				l.fail(s.name, err)
				continue
			}
			one := &resting{subject: s, n: n, p: p}
			all = append(all, one)
			children, err := r.take(n)
			if err != nil {
				l.fail(s.name, err)
				return
			}
			one.pids = p.supervisors(children)
		}
	}
	l.wait(2 * settle)
	for _, r := range all {
		var err error
		if r.before, err = costOf(r.pids); err != nil {
			l.fail(r.name, err)
			return
		}
	}
	window := l.pick(5*time.Second, 20*time.Second)
	l.wait(window)
	if l.ctx.Err() != nil {
		return
	}
	for _, r := range all {
		after, err := costOf(r.pids)
		if err != nil {
			l.fail(r.name, err)
			return
		}
		l.add(fmt.Sprintf("switches %d", r.n), r.name, fmt.Sprintf("in %.0f s", window.Seconds()), float64(after.Switches-r.before.Switches))
		l.add(fmt.Sprintf("CPU %d", r.n), r.name, fmt.Sprintf("ms in %.0f s", window.Seconds()), ms(after.CPU-r.before.CPU))
	}
}
