package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// peer is a supervisor that is on PATH.
type peer struct {
	name    string
	program string
	// companions prepares a directory for n children and returns the command; nil
	// when it supervises none. The children inherit the environment.
	companions func(dir, child string, n int) ([]string, error)
	stop       syscall.Signal
	// pause is how long a child has to be up to be started again at once.
	pause time.Duration
	web   bool
}

func findPeers() []peer {
	var found []peer
	for _, p := range []peer{
		{name: "supervisord", program: "supervisord", companions: supervisordConfig, stop: syscall.SIGTERM, pause: 1500 * time.Millisecond},
		{name: "runit", program: "runsvdir", companions: runitServices, stop: syscall.SIGHUP, pause: 1500 * time.Millisecond},
		{name: "s6", program: "s6-svscan", companions: s6Services, stop: syscall.SIGTERM, pause: 1500 * time.Millisecond},
		{name: "gunicorn", program: "gunicorn", stop: syscall.SIGTERM, web: true},
	} {
		path, err := exec.LookPath(p.program)
		if err != nil {
			continue
		}
		p.program = path
		found = append(found, p)
	}
	return found
}

func supervisordConfig(dir, child string, n int) ([]string, error) {
	var b strings.Builder
	b.WriteString("[supervisord]\nnodaemon = true\nsilent = true\nlogfile = /dev/null\nlogfile_maxbytes = 0\nminfds = 8192\n")
	fmt.Fprintf(&b, "pidfile = %s/pid\n", dir)
	for i := range n {
		fmt.Fprintf(&b, "[program:c%04d]\ncommand = %s\nautorestart = true\nstdout_logfile = NONE\nstderr_logfile = NONE\n", i+1, child)
	}
	file := filepath.Join(dir, "supervisord.conf")
	return []string{"-c", file}, os.WriteFile(file, []byte(b.String()), 0o600)
}

// serviceDirs makes n directories whose run is the child itself: no shell is
// measured.
func serviceDirs(dir, child string, n int) error {
	for i := range n {
		service := filepath.Join(dir, fmt.Sprintf("c%04d", i+1))
		if err := os.Mkdir(service, 0o755); err != nil {
			return err
		}
		if err := os.Symlink(child, filepath.Join(service, "run")); err != nil {
			return err
		}
	}
	return nil
}

func runitServices(dir, child string, n int) ([]string, error) {
	return []string{"-P", dir}, serviceDirs(dir, child, n)
}

func s6Services(dir, child string, n int) ([]string, error) {
	return []string{"-c", fmt.Sprint(2*n + 4), dir}, serviceDirs(dir, child, n)
}

// gunicornApp makes the smallest WSGI application and returns the arguments.
func gunicornApp(dir, addr string) ([]string, error) {
	const app = "def app(environ, start):\n" +
		"    start('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '3')])\n" +
		"    return [b'ok\\n']\n"
	args := []string{
		"--bind", addr, "--workers", "2", "--threads", "16", "--worker-class", "gthread",
		"--keep-alive", "30", "--log-level", "critical", "--chdir", dir, "wsgi:app",
	}
	return args, os.WriteFile(filepath.Join(dir, "wsgi.py"), []byte(app), 0o600)
}
