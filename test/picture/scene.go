package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/test/bench/load"
)

// take is what was recorded. All times count from its beginning.
type take struct {
	requests []request
	reloads  []reload
	length   time.Duration
	about    string // what ran where, and when
}

type request struct {
	due    time.Duration
	took   time.Duration
	failed bool
}

// reload is one of them. A refused one drains nobody.
type reload struct {
	label   string
	asked   time.Duration
	done    time.Duration // gofork answered: the new workers serve, or it is refused
	drained time.Duration // no worker of before is left
	refused bool
}

// scene is what is started for a take.
type scene struct {
	gofork  string
	release []byte // the application's source
	dir     string
}

const (
	clients = 25
	rate    = 500 // requests a second

	patience = 30 * time.Second
	// between what happens, so that it can be told apart
	pause = 1200 * time.Millisecond
)

const config = `name = "picture"

[server]
bind = ["fd:3"]
runtime_dir = %[1]q
graceful_timeout = "10s"

[worker]
command = ["node", %[2]q]
count = 2
ready = "notify"
`

// announced is put after a release, which calls its http.Server server: a
// machine that is busy may take longer than any ready_after to load node.
const announced = `
server.once('listening', () => require('node:child_process').execFile(%q, ['notify', 'READY=1']));
`

// broken is put before a release that shall not start.
const broken = "throw new Error('this release does not start');\n"

// shoot starts gofork, loads it and reloads it, and stops it.
func (s *scene) shoot(ctx context.Context) (t *take, err error) {
	s.release = fmt.Appendf(s.release, announced, s.gofork)
	file := filepath.Join(s.dir, "picture.toml")
	text := fmt.Sprintf(config, filepath.Join(s.dir, "run"), s.source())
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), s.publish(s.release)); err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	stop, err := s.serve(file, listener)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	client := control.Dial(filepath.Join(s.dir, "run", "picture.sock"))
	defer client.Close()
	busy := loadAverage()
	st, err := settled(ctx, client)
	if err != nil {
		return nil, err
	}
	r := &recorder{began: time.Now()}
	loading, end := context.WithCancel(ctx)
	defer end()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		load.Run(loading, load.Plan{
			Addr: listener.Addr().String(), Path: "/", Conns: clients, Rate: rate, Timeout: 10 * time.Second, Each: r.note,
		})
	}()
	reloads, err := s.reloads(ctx, client, r.began)
	length := time.Since(r.began)
	end()
	<-answered
	if err != nil {
		return nil, err
	}
	return &take{requests: r.requests, reloads: reloads, length: length, about: about(ctx, st.Version, busy)}, nil
}

func (s *scene) source() string { return filepath.Join(s.dir, "server.js") }

// publish makes a release the one that new workers load.
func (s *scene) publish(release []byte) error { return os.WriteFile(s.source(), release, 0o600) }

// serve starts gofork with a listener as descriptor 3.
func (s *scene) serve(file string, listener net.Listener) (stop func() error, err error) {
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	output, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer output.Close()
	// Not CommandContext: it is to stop its workers, not to be killed.
	cmd := exec.Command(s.gofork, "serve", "-c", file) //nolint:noctx // ended by stop
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, output, output
	cmd.ExtraFiles = []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the program alone
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start gofork: %w (make build)", err)
	}
	return func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		if err := cmd.Wait(); err != nil {
			said, _ := os.ReadFile(output.Name()) // none is as good as an empty one here
			return fmt.Errorf("gofork: %w\n%s", err, said)
		}
		return nil
	}, nil
}

// reloads are the plot: two good ones, one that is refused, and another good one.
func (s *scene) reloads(ctx context.Context, client *control.Client, began time.Time) (all []reload, err error) {
	for _, label := range []string{"reload 1", "reload 2", brokenLabel, "reload 3"} {
		if err := wait(ctx, pause); err != nil {
			return nil, err
		}
		r := reload{label: label, refused: label == brokenLabel}
		release := s.release
		if r.refused {
			release = append([]byte(broken), release...)
		}
		if err := s.publish(release); err != nil {
			return nil, err
		}
		r.asked = time.Since(began)
		result, err := client.Reload(ctx, control.ReloadRequest{})
		r.done = time.Since(began)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", label, err)
		case r.refused && result.OK:
			return nil, errors.New("a release that does not start was accepted")
		case !r.refused && !result.OK:
			return nil, fmt.Errorf("%s: %s", label, result.Error)
		}
		if _, err := settled(ctx, client); err != nil {
			return nil, err
		}
		r.drained = time.Since(began)
		all = append(all, r)
	}
	return all, wait(ctx, pause)
}

const brokenLabel = "broken release"

// settled waits until the workers that are wanted are all that is there.
func settled(ctx context.Context, client *control.Client) (*control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		st, err := client.Status(ctx)
		if err == nil && st.State == control.StateRunning &&
			st.Workers.Ready == st.Workers.Configured && len(st.Workers.List) == st.Workers.Configured {
			return st, nil
		}
		if waited := wait(ctx, 10*time.Millisecond); waited != nil {
			return nil, fmt.Errorf("gofork is not up: %w", errors.Join(err, waited))
		}
	}
}

// wait lets a time pass, or ctx end.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// recorder notes requests of all connections.
type recorder struct {
	began time.Time

	mu       sync.Mutex
	requests []request
}

func (r *recorder) note(s load.Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request{due: s.Due.Sub(r.began), took: s.Took, failed: s.Err != nil})
}

// about names what ran, and how busy the machine was with other work before.
func about(ctx context.Context, version, load string) string {
	node, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		node = []byte("of unknown version")
	}
	return fmt.Sprintf("gofork %s, 2 workers of Node.js %s, %d CPUs with the clients on them, load average %s before, %s",
		version, strings.TrimSpace(string(node)), runtime.NumCPU(), load, time.Now().UTC().Format("2006-01-02 15:04 UTC"))
}

func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	average, _, _ := strings.Cut(string(data), " ")
	return average
}
