package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofork/gofork/test/bench/ps"
)

// server is a `gofork serve` that is measured. It is asked over its control
// socket alone, as any client would.
type server struct {
	*program
	dir, file, addr string
	client          *http.Client
}

// serve starts gofork; ADDR and DIR in the configuration are replaced.
func (l *lab) serve(config string, env ...string) (*server, error) {
	dir, err := l.tempDir()
	if err != nil {
		return nil, err
	}
	addr, err := l.freeAddr()
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, file: filepath.Join(dir, "app.toml"), addr: addr}
	config = fmt.Sprintf("[server]\nbind = [%q]\nruntime_dir = %q\n", addr, filepath.Join(dir, "run")) +
		strings.NewReplacer("@ADDR", addr, "@DIR", dir).Replace(config)
	if err := s.write(config); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "run", "app.sock")
	s.client = &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DisableKeepAlives: true, // nothing of a question is left when idleness is measured
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		},
	}
	s.program, err = l.execute(env, dir, l.gofork, "serve", "-c", s.file)
	return s, err
}

func (s *server) write(config string) error {
	return os.WriteFile(s.file, []byte(config), 0o600)
}

// companionsOf is the configuration of n companions, each a table of its own.
func companionsOf(n int, child, keys string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[companion.c%04d]\ncommand = [%q]\n%s\n", i+1, child, keys)
	}
	return b.String()
}

// status is what is asked of GET /v1/status here.
type status struct {
	State      string `json:"state"`
	PID        int    `json:"pid"`
	Generation int    `json:"generation"`
	Workers    struct {
		Configured, Ready int
		List              []struct {
			Slot, PID int
		}
	} `json:"workers"`
	Manager *struct {
		PID int `json:"pid"`
	} `json:"manager"`
	Companions []struct {
		Name  string `json:"name"`
		State string `json:"state"`
		PID   int    `json:"pid"`
	} `json:"companions"`
}

func (s *server) ask(method, path, body string, answer any) error {
	req, err := http.NewRequestWithContext(s.l.ctx, method, "http://gofork"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: status %d: %s", method, path, res.StatusCode, data)
	}
	return json.Unmarshal(data, answer)
}

// up waits until everything that is configured runs.
func (s *server) up(companions int) (st status, err error) {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) && s.l.ctx.Err() == nil {
		err = s.ask(http.MethodGet, "/v1/status", "", &st)
		running := 0
		for _, c := range st.Companions {
			if c.State == "RUNNING" {
				running++
			}
		}
		if err == nil && st.State == "running" && running == companions && st.Workers.Ready == st.Workers.Configured {
			return st, nil
		}
		s.l.wait(20 * time.Millisecond)
	}
	return st, fmt.Errorf("gofork is not up: %s, %w", st.State, err)
}

// reload reloads and returns when it is done.
func (s *server) reload() error {
	var result struct {
		OK    bool   `json:"ok"`
		Error string `json:"error"`
	}
	if err := s.ask(http.MethodPost, "/v1/reload", "", &result); err != nil {
		return err
	}
	if !result.OK {
		return fmt.Errorf("the reload failed: %s", result.Error)
	}
	return nil
}

// replaceWorkers reloads and returns when the last worker of before has ended.
func (s *server) replaceWorkers() error {
	if err := s.reload(); err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) && s.l.ctx.Err() == nil {
		var st status
		if err := s.ask(http.MethodGet, "/v1/status", "", &st); err != nil {
			return err
		}
		if len(st.Workers.List) == st.Workers.Configured {
			return nil
		}
		s.l.wait(20 * time.Millisecond)
	}
	return fmt.Errorf("the workers were not replaced within %s", patience)
}

// end stops gofork; how long that took is of no interest.
func (s *server) end() {
	if _, err := s.stop(syscall.SIGTERM); err != nil {
		s.l.fail(itself, fmt.Errorf("stop: %w", err))
		s.kill()
	}
}

// supervisors returns what is below a program without the children that reported.
func (p *program) supervisors(children []report) []int {
	child := map[int]bool{}
	for _, c := range children {
		child[c.pid] = true
	}
	var pids []int
	for _, q := range ps.Tree(p.pid()) {
		if !child[q.PID] {
			pids = append(pids, q.PID)
		}
	}
	return pids
}

// costOf sums what some processes have used so far.
func costOf(pids []int) (sum ps.Cost, err error) {
	for _, pid := range pids {
		c, err := ps.CostOf(pid)
		if err != nil {
			return sum, err
		}
		sum.CPU += c.CPU
		sum.Switches += c.Switches
	}
	return sum, nil
}
