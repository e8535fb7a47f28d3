package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// report is what a child says when it was executed.
type report struct {
	pid int
	at  time.Duration // monotonic clock
}

// reports is the FIFO that children write to, named by BENCH_FIFO.
type reports struct {
	path string
	file *os.File
	in   *bufio.Reader
}

func (l *lab) reports() (*reports, error) {
	dir, err := l.tempDir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("cannot make %s: %w", path, err)
	}
	// Read and write: it opens without a writer, and never ends.
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &reports{path: path, file: file, in: bufio.NewReader(file)}, nil
}

// silence is how long the next report may take: 500 MB are written between two.
const silence = 30 * time.Second

func (r *reports) env() string { return "BENCH_FIFO=" + r.path }

func (r *reports) close() { r.file.Close() }

// next returns the next report.
func (r *reports) next() (rep report, err error) {
	if err := r.file.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return rep, err
	}
	line, err := r.in.ReadString('\n')
	if err != nil {
		return rep, fmt.Errorf("no report of a child: %w", err)
	}
	_, err = fmt.Sscanf(line, "%d %d", &rep.pid, &rep.at)
	return rep, err
}

// take returns the next n reports.
func (r *reports) take(n int) ([]report, error) {
	var all []report
	for range n {
		rep, err := r.next()
		if err != nil {
			return nil, fmt.Errorf("%d of %d children: %w", len(all), n, err)
		}
		all = append(all, rep)
	}
	return all, nil
}

// last is the latest moment of some reports.
func last(all []report) (at time.Duration) {
	for _, r := range all {
		at = max(at, r.at)
	}
	return at
}
