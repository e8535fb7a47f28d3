package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	web   *webPeer // nil when it serves no HTTP
	// version is a command that prints it among other things.
	version []string
}

func findPeers() []peer {
	var found []peer
	for _, p := range []peer{
		{
			name: "supervisord", program: "supervisord", companions: supervisordConfig,
			stop: syscall.SIGTERM, pause: 1500 * time.Millisecond, version: []string{"supervisord", "--version"},
		},
		{
			name: "runit", program: "runsvdir", companions: runitServices,
			stop: syscall.SIGHUP, pause: 1500 * time.Millisecond, version: []string{"dpkg-query", "-W", "-f=${Version}", "runit"},
		},
		{
			name: "s6", program: "s6-svscan", companions: s6Services,
			stop: syscall.SIGTERM, pause: 1500 * time.Millisecond, version: []string{"dpkg-query", "-W", "-f=${Version}", "s6"},
		},
		{name: "gunicorn", program: "gunicorn", web: gunicorn(), stop: syscall.SIGTERM, version: []string{"gunicorn", "--version"}},
		{name: "uwsgi", program: "uwsgi", web: uwsgi(), stop: syscall.SIGTERM, version: []string{"uwsgi", "--version"}},
		{name: "puma", program: "puma", web: puma(), stop: syscall.SIGTERM, version: []string{"puma", "--version"}},
	} {
		path, err := exec.LookPath(p.program)
		if err != nil {
			fmt.Printf("%s: left out, there is no %s on PATH\n", p.name, p.program)
			continue
		}
		p.program = path
		found = append(found, p)
	}
	return found
}

// versionOf is the first number with a point that its version command prints.
// runit and s6 cannot be asked: the package is, where there is dpkg.
func (p peer) versionOf(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, p.version[0], p.version[1:]...).Output()
	if v := regexp.MustCompile(`\d+(\.\d+)+`).Find(out); err == nil && v != nil {
		return string(v)
	}
	return "of unknown version"
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
