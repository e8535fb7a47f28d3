package main

import (
	_ "embed" // the applications
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/gofork/gofork/test/bench/ps"
)

// webPeer is an application server, set up as gofork is: two workers, which load
// the application each for itself, and connections that are kept.
type webPeer struct {
	// files are what its directory has, by name.
	files map[string]string
	args  func(dir, addr string) []string
	// reload asks for new workers, in the way of this server that keeps the socket
	// and replaces a few workers at a time.
	reload func(p *program, dir string) error
}

// The applications answer with three bytes, and leave a file with their pid in
// the directory loaded when they are loaded.
var (
	//go:embed testdata/web/wsgi.py
	wsgiApp string
	//go:embed testdata/web/config.ru
	rackApp string
	//go:embed testdata/web/server.js
	nodeApp string
)

const (
	peerWorkers = 2
	// Each kept connection may hold a thread, and there are 25.
	peerThreads = 16
	// longer than any measurement
	peerKeepAlive = 60 * time.Second
)

func gunicorn() *webPeer {
	return &webPeer{
		files: map[string]string{"wsgi.py": wsgiApp},
		args: func(dir, addr string) []string {
			return []string{
				"--bind", addr, "--workers", strconv.Itoa(peerWorkers),
				"--threads", strconv.Itoa(peerThreads), "--worker-class", "gthread",
				"--keep-alive", fmt.Sprint(peerKeepAlive.Seconds()), "--log-level", "critical", "--chdir", dir, "wsgi:app",
			}
		},
		reload: func(p *program, _ string) error { return p.cmd.Process.Signal(syscall.SIGHUP) },
	}
}

// uwsgi's graceful reload (SIGHUP) executes uwsgi anew and lets nobody answer
// meanwhile; the chain reload is its better one. Its HTTP router, which its
// documentation names for serving without a proxy, keeps the clients' connections
// while workers go; --http11-socket, where workers have them, lost more.
func uwsgi() *webPeer {
	return &webPeer{
		files: map[string]string{"wsgi.py": wsgiApp},
		args: func(dir, addr string) []string {
			return []string{
				"--plugins", "http,python3", // first: they bring options
				"--master", "--die-on-term", "--need-app", "--lazy-apps", "--disable-logging",
				"--processes", strconv.Itoa(peerWorkers), "--threads", strconv.Itoa(peerThreads),
				"--http", addr, fmt.Sprintf("--http-keepalive=%g", peerKeepAlive.Seconds()),
				"--chdir", dir, "--wsgi-file", "wsgi.py",
				"--master-fifo", filepath.Join(dir, "fifo"),
			}
		},
		reload: func(_ *program, dir string) error {
			fifo, err := os.OpenFile(filepath.Join(dir, "fifo"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
			if err != nil {
				return err
			}
			defer fifo.Close()
			_, err = fifo.WriteString("c")
			return err
		},
	}
}

func puma() *webPeer {
	return &webPeer{
		files: map[string]string{
			"config.ru": rackApp,
			"puma.rb":   fmt.Sprintf("preload_app! false\npersistent_timeout %g\n", peerKeepAlive.Seconds()),
		},
		args: func(dir, addr string) []string {
			return []string{
				"--bind", "tcp://" + addr, "--workers", strconv.Itoa(peerWorkers),
				"--threads", fmt.Sprintf("%d:%d", peerThreads, peerThreads), "--quiet",
				"--config", filepath.Join(dir, "puma.rb"), filepath.Join(dir, "config.ru"),
			}
		},
		reload: func(p *program, _ string) error { return p.cmd.Process.Signal(syscall.SIGUSR1) },
	}
}

// served is a web peer that runs.
type served struct {
	*program
	peer *webPeer
	dir  string
}

func (l *lab) startWebPeer(p peer) (s *served, addr string, err error) {
	dir, err := l.tempDir()
	if err != nil {
		return nil, "", err
	}
	if err := os.Mkdir(filepath.Join(dir, "loaded"), 0o700); err != nil {
		return nil, "", err
	}
	for name, content := range p.web.files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, "", err
		}
	}
	if addr, err = l.freeAddr(); err != nil {
		return nil, "", err
	}
	s = &served{peer: p.web, dir: dir}
	s.program, err = l.execute(nil, dir, append([]string{p.program}, p.web.args(dir, addr)...)...)
	return s, addr, err
}

// loaded are the processes that have loaded the application, those that ended
// included.
func (s *served) loaded() (pids []int, err error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "loaded"))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// reload returns when no worker of before is left and as many new ones have
// loaded the application.
func (s *served) reload() error {
	before, err := s.loaded()
	if err != nil {
		return err
	}
	if err := s.peer.reload(s.program, s.dir); err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) && s.l.ctx.Err() == nil {
		now, err := s.loaded()
		if err != nil {
			return err
		}
		if len(now) >= len(before)+peerWorkers && !anyRuns(before) {
			return nil
		}
		s.l.wait(20 * time.Millisecond)
	}
	return fmt.Errorf("the workers were not replaced within %s", patience)
}

func anyRuns(pids []int) bool {
	for _, pid := range pids {
		if p, ok := ps.Lookup(pid); ok && p.Alive() {
			return true
		}
	}
	return false
}
