package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/test/bench/ps"
)

// patience is how long a program may take for what it is measured at.
const patience = 90 * time.Second

// program is something that was started, with all that it started.
type program struct {
	l       *lab
	cmd     *exec.Cmd
	started time.Duration // monotonic clock, right before it was executed
	ended   chan struct{} // closed when it was reaped
}

// execute starts a program in a process group of its own. Its output goes nowhere.
func (l *lab) execute(env []string, dir string, argv ...string) (*program, error) {
	p := &program{l: l, ended: make(chan struct{})}
	// Not CommandContext: a supervisor that is killed stops nothing.
	p.cmd = exec.Command(argv[0], argv[1:]...) //nolint:noctx // ended by stop and kill
	p.cmd.Dir = dir
	p.cmd.Env = append(cleanEnv(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.started = monotonic()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // some end by the signal, and that is as good
		close(p.ended)
	}()
	return p, nil
}

// cleanEnv is this process's environment without what a supervisor would read.
func cleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		key, _, _ := strings.Cut(kv, "=")
		switch key {
		case "PORT", "WEB_CONCURRENCY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "XDG_RUNTIME_DIR", "GOMAXPROCS", "GOGC":
			return true
		}
		return strings.HasPrefix(key, "GOFORK_") || strings.HasPrefix(key, "LISTEN_") || strings.HasPrefix(key, "BENCH_")
	})
}

func (p *program) pid() int { return p.cmd.Process.Pid }

// stop sends a signal and returns how long it took until the program and
// everything below it had ended.
func (p *program) stop(sig syscall.Signal) (time.Duration, error) {
	below := watch(ps.Tree(p.pid()))
	defer below.close()
	began := monotonic()
	if err := p.cmd.Process.Signal(sig); err != nil {
		return 0, err
	}
	err := p.awaitEnd()
	if err == nil {
		err = below.ended(patience)
	}
	took := monotonic() - began
	if err != nil {
		below.kill()
	}
	return took, err
}

func (p *program) awaitEnd() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("still there %s after it was to stop", patience)
	}
}

// kill ends the program and everything below, whatever it does.
func (p *program) kill() {
	below := watch(ps.Tree(p.pid()))
	defer below.close()
	below.kill()
	_ = p.awaitEnd() // of SIGKILL
}

// watched are processes that are known for certain, by descriptors.
type watched []int

func watch(processes []ps.Process) watched {
	var w watched
	for _, p := range processes {
		if fd, err := unix.PidfdOpen(p.PID, 0); err == nil {
			w = append(w, fd)
		}
	}
	return w
}

// ended waits until none of them runs.
func (w watched) ended(within time.Duration) error {
	deadline := time.Now().Add(within)
	for _, fd := range w {
		for {
			left := time.Until(deadline)
			if left <= 0 {
				return fmt.Errorf("processes were left running for %s", within)
			}
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
			if n == 1 {
				break
			}
			if err != nil && err != unix.EINTR {
				return err
			}
		}
	}
	return nil
}

func (w watched) kill() {
	for _, fd := range w {
		// ESRCH: it has ended.
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

func (w watched) close() {
	for _, fd := range w {
		unix.Close(fd)
	}
}

// monotonic is the clock that the child reports, too.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // there is no Linux without this clock
	}
	return time.Duration(ts.Nano())
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mib(n int64) float64 { return float64(n) / (1 << 20) }
