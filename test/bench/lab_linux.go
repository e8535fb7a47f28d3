package main

import (
	"context"
	_ "embed" // child.c
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

//go:embed testdata/child.c
var childSource []byte

// open builds the programs that are measured with.
func open(ctx context.Context, opts options) (*lab, error) {
	gofork, err := filepath.Abs(opts.gofork)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(gofork); err != nil {
		return nil, fmt.Errorf("cannot measure: %w (make build)", err)
	}
	// Short: unix sockets are below.
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{ctx: ctx, opts: opts, dir: dir, gofork: filepath.Join(dir, "gofork")}
	// A copy: memory is shared with whoever runs the same file.
	if err := errors.Join(copyProgram(l.gofork, gofork), l.build()); err != nil {
		return nil, errors.Join(err, l.close())
	}
	if opts.peers {
		l.peers = findPeers()
	}
	return l, nil
}

// copyProgram writes as those do who install programs, a piece at a time. A file
// that was written at once lies in the page cache in folios of up to 2 MiB, of
// which the kernel maps all when one page is needed: 4 MiB more in the figures.
func copyProgram(to, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	program, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{program}, struct{ io.Reader }{source}, make([]byte, 32<<10))
	return errors.Join(err, program.Close())
}

func (l *lab) close() error { return os.RemoveAll(l.dir) }

func (l *lab) build() error {
	l.floor, l.app, l.child = l.path("floor"), l.path("app"), l.path("child")
	for _, program := range []string{"floor", "app"} {
		cmd := exec.CommandContext(l.ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", l.path(program),
			"github.com/gofork/gofork/test/bench/"+program)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w\n%s", program, err, out)
		}
	}
	source := l.path("child.c")
	if err := os.WriteFile(source, childSource, 0o600); err != nil {
		return err
	}
	for _, flags := range [][]string{{"-static"}, {}} { // not every system has a static libc
		args := append(flags, "-O2", "-o", l.child, source)
		out, err := exec.CommandContext(l.ctx, "gcc", args...).CombinedOutput()
		if err == nil {
			l.childIs = strings.TrimSpace("C " + strings.Join(flags, " "))
			return nil
		}
		if errors.Is(err, exec.ErrNotFound) {
			return errors.New("cannot build the child: it is written in C, so that it costs next to nothing, and there is no gcc (apt-get install gcc libc6-dev)")
		}
		if len(flags) == 0 {
			return fmt.Errorf("cannot build the child: %w\n%s", err, out)
		}
	}
	return nil
}

// describe is the table's header.
func describe(l *lab) string {
	var b strings.Builder
	version, err := exec.CommandContext(l.ctx, l.gofork, "version").Output()
	if err != nil {
		version = []byte(err.Error())
	}
	names := []string{}
	for _, p := range l.peers {
		names = append(names, p.name+" "+p.versionOf(l.ctx))
	}
	if len(names) == 0 {
		names = []string{"none on PATH"}
	}
	fmt.Fprintf(&b, "%s\n", strings.TrimSpace(string(version)))
	fmt.Fprintf(&b, "%s, %d CPUs, %s, Linux %s, load average %s at the start\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), cpuModel(), kernel(), loadAverage())
	fmt.Fprintf(&b, "%d rounds, quick %t, child %s, peers: %s\n", l.rounds(), l.opts.quick, l.childIs, strings.Join(names, ", "))
	return b.String()
}

func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(data))[:3], " ")
}

func kernel() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(data))
}

func cpuModel() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

// freeAddr returns an address below the ephemeral range, so that no outgoing
// connection takes it meanwhile.
func (l *lab) freeAddr() (string, error) {
	for range 1000 {
		l.ports++
		addr := fmt.Sprintf("127.0.0.1:%d", 15000+(os.Getpid()*41+l.ports)%5000)
		listener, err := new(net.ListenConfig).Listen(l.ctx, "tcp", addr)
		if err == nil {
			return addr, listener.Close()
		}
	}
	return "", errors.New("no free port")
}
