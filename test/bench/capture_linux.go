package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// captured is how much is written, in lines of 100 bytes.
const captured = 500_000_000

// captureBench measures from the exec of a child that writes as fast as it can to
// the moment when all of it is in the files, and what the supervisors use for it.
// The floor is the child writing into a file itself, which nobody rotates.
func captureBench(l *lab) {
	for range l.rounds() {
		if err := l.captureFloor(); err != nil {
			l.fail(bareFloor, err)
		}
		for _, s := range l.capturers() {
			if err := l.captureOnce(s); err != nil {
				l.fail(s.name, err)
			}
			if l.ctx.Err() != nil {
				return
			}
		}
	}
}

// capturer is a supervisor that captures into DIR/out and rotates.
type capturer struct {
	name  string
	start func(dir string, env []string) (*program, error)
}

func (l *lab) capturers() []capturer {
	all := []capturer{{itself, func(dir string, env []string) (*program, error) {
		s, err := l.serve(companionsOf(1, l.child, fmt.Sprintf("stdout = %q\nlog_max_size = \"50MiB\"\nlog_backups = 20\n", filepath.Join(dir, "out"))), env...)
		if err != nil {
			return nil, err
		}
		return s.program, nil
	}}}
	for _, p := range l.peers {
		if p.name != "supervisord" {
			continue
		}
		all = append(all, capturer{p.name, func(dir string, env []string) (*program, error) {
			config := filepath.Join(dir, "supervisord.conf")
			text := fmt.Sprintf("[supervisord]\nnodaemon = true\nsilent = true\nlogfile = /dev/null\nlogfile_maxbytes = 0\npidfile = %s/pid\n"+
				"[program:c]\ncommand = %s\nstdout_logfile = %s/out\nstdout_logfile_maxbytes = 50MB\nstdout_logfile_backups = 20\n", dir, l.child, dir)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				return nil, err
			}
			return l.execute(env, dir, p.program, "-c", config)
		}})
	}
	return all
}

func (l *lab) captureOnce(c capturer) error {
	dir, err := l.tempDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := l.reports()
	if err != nil {
		return err
	}
	defer r.close()
	p, err := c.start(dir, []string{r.env(), fmt.Sprintf("BENCH_SPEW=%d", captured)})
	if err != nil {
		return err
	}
	defer func() {
		if _, err := p.stop(syscall.SIGTERM); err != nil {
			l.fail(c.name, err)
		}
	}()
	begun, err := r.next()
	if err != nil {
		return err
	}
	supervisors := p.supervisors([]report{begun})
	before, err := costOf(supervisors)
	if err != nil {
		return err
	}
	if _, err := r.next(); err != nil { // the last line is written
		return err
	}
	for sizeOf(dir) < captured {
		if l.wait(time.Millisecond); l.ctx.Err() != nil {
			return l.ctx.Err()
		}
		if monotonic()-begun.at > patience {
			return fmt.Errorf("%d of %d bytes arrived", sizeOf(dir), int64(captured))
		}
	}
	took := monotonic() - begun.at
	after, err := costOf(supervisors)
	if err != nil {
		return err
	}
	l.add("wall", c.name, "s", took.Seconds())
	l.add("CPU per GB", c.name, "s", (after.CPU-before.CPU).Seconds()*1e9/captured)
	return nil
}

// sizeOf is how much is in the file and those that were rotated away. One that
// is renamed while this looks makes it too small for a moment.
func sizeOf(dir string) (sum int64) {
	files, err := filepath.Glob(filepath.Join(dir, "out*"))
	if err != nil {
		return 0
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

func (l *lab) captureFloor() error {
	dir, err := l.tempDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := l.reports()
	if err != nil {
		return err
	}
	defer r.close()
	p, err := l.execute([]string{r.env(), fmt.Sprintf("BENCH_SPEW=%d", captured)}, dir, "/bin/sh", "-c", `exec "$0" >out`, l.child)
	if err != nil {
		return err
	}
	defer p.kill()
	both, err := r.take(2)
	if err != nil {
		return err
	}
	l.add("wall", bareFloor, "s", (both[1].at - both[0].at).Seconds())
	return nil
}
