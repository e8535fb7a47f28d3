package main

import (
	"bytes"
	"fmt"
	"os"
)

// changedBench measures a reload that finds one of many specs changed.
func changedBench(l *lab) {
	n := 1000
	r, err := l.reports()
	if err != nil {
		l.fail(itself, err)
		return
	}
	defer r.close()
	s, err := l.serve(companionsOf(n, l.child, "env = { VERSION = \"1\" }"), r.env())
	if err != nil {
		l.fail(itself, err)
		return
	}
	defer s.end()
	if err := l.changedRounds(s, r, n); err != nil {
		l.fail(itself, err)
	}
}

func (l *lab) changedRounds(s *server, r *reports, n int) error {
	children, err := r.take(n)
	if err != nil {
		return err
	}
	supervisors := s.supervisors(children)
	for round := range l.rounds() {
		before, err := s.up(n)
		if err != nil {
			return err
		}
		l.wait(settle)
		if err := s.changeOne(round*7 + 3); err != nil {
			return err
		}
		used, err := costOf(supervisors)
		if err != nil {
			return err
		}
		began := monotonic()
		if err := s.reload(); err != nil {
			return err
		}
		took := monotonic() - began
		now, err := costOf(supervisors)
		if err != nil {
			return err
		}
		after, err := s.up(n)
		if err != nil {
			return err
		}
		restarts := 0
		for i, c := range after.Companions {
			if c.PID != before.Companions[i].PID {
				restarts++
			}
		}
		l.add("wall", itself, "ms", ms(took))
		l.add("CPU", itself, "ms", ms(now.CPU-used.CPU))
		l.add("restarts", itself, "", float64(restarts))
	}
	return nil
}

// changeOne changes the environment of the i-th companion.
func (s *server) changeOne(i int) error {
	data, err := os.ReadFile(s.file)
	if err != nil {
		return err
	}
	table := fmt.Appendf(nil, "[companion.c%04d]", i+1)
	head, tail, ok := bytes.Cut(data, table)
	if !ok {
		return fmt.Errorf("the configuration has no %s", table)
	}
	tail = bytes.Replace(tail, []byte(`VERSION = "1"`), []byte(`VERSION = "2"`), 1)
	return s.write(string(head) + string(table) + string(tail))
}
