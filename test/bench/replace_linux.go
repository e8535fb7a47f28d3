package main

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/gofork/gofork/test/bench/ps"
)

// replaceBench measures from SIGKILL of a child to the moment when the next one
// was executed.
func replaceBench(l *lab) {
	for range l.rounds() {
		for _, s := range l.supervisors(true) {
			if err := l.replaceCompanions(s); err != nil {
				l.fail(s.name, err)
			}
		}
		if err := l.replaceWorkers(); err != nil {
			l.fail(itself+" worker", err)
		}
		if l.ctx.Err() != nil {
			return
		}
	}
}

// median of the kills of a round is the round's sample: single ones catch
// whatever else the machine does.
func (l *lab) replaceCompanions(s subject) error {
	r, err := l.reports()
	if err != nil {
		return err
	}
	defer r.close()
	p, err := s.start(1, []string{r.env()})
	if err != nil {
		return err
	}
	defer func() {
		if _, err := p.stop(s.stop); err != nil {
			l.fail(s.name, err)
		}
	}()
	kills := 15
	if s.pause > settle/2 {
		kills = 3
	}
	child, err := r.next()
	if err != nil {
		return err
	}
	l.wait(settle) // as everywhere: a supervisor at rest
	var took []float64
	for range kills {
		l.wait(s.pause)
		killed := monotonic()
		if err := syscall.Kill(child.pid, syscall.SIGKILL); err != nil {
			return err
		}
		if child, err = r.next(); err != nil {
			return err
		}
		took = append(took, ms(child.at-killed))
	}
	slices.Sort(took)
	l.add("companion", s.name, "ms", took[len(took)/2])
	if s.name == bareFloor {
		l.add("worker", s.name, "ms", took[len(took)/2])
	}
	return nil
}

// A slot's replacement is started at once only when the slot has been up, so one
// kill of each of many slots.
func (l *lab) replaceWorkers() error {
	const slots = 15
	r, err := l.reports()
	if err != nil {
		return err
	}
	defer r.close()
	s, err := l.serve(fmt.Sprintf("[worker]\ncommand = [%q]\ncount = %d\nready = \"alive\"\nready_after = \"100ms\"\n", l.child, slots), r.env())
	if err != nil {
		return err
	}
	defer s.end()
	children, err := r.take(slots)
	if err != nil {
		return err
	}
	if _, err := s.up(0); err != nil {
		return err
	}
	l.wait(settle)
	var took []float64
	for _, child := range children {
		if _, ok := ps.Lookup(child.pid); !ok {
			return fmt.Errorf("worker %d has gone", child.pid)
		}
		killed := monotonic()
		if err := syscall.Kill(child.pid, syscall.SIGKILL); err != nil {
			return err
		}
		next, err := r.next()
		if err != nil {
			return err
		}
		took = append(took, ms(next.at-killed))
		l.wait(50 * time.Millisecond)
	}
	slices.Sort(took)
	l.add("worker", itself, "ms", took[len(took)/2])
	return nil
}
