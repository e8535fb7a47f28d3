package worker

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// child is this test binary as a real worker process: sockets from descriptor
// 3 on, a notify socket, signals.
type child struct {
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	notify *net.UnixConn
	addr   string
}

func spawn(t testing.TB, spec Spec, f func(*exec.Cmd)) *child {
	t.Helper()
	l := listen(t)
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	path := t.TempDir() + "/notify"
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { notify.Close() })
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(exe), stderr: new(bytes.Buffer), notify: notify, addr: l.Addr().String()}
	c.cmd.Env = append(os.Environ(), specEnv+"="+string(text), "LISTEN_FDS=1", "NOTIFY_SOCKET="+path)
	c.cmd.ExtraFiles = []*os.File{file}
	c.cmd.Stderr = c.stderr
	if f != nil {
		f(c.cmd)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.cmd.Process.Kill(); c.cmd.Wait() })
	return c
}

func (c *child) await(t testing.TB, message string) {
	t.Helper()
	c.notify.SetReadDeadline(time.Now().Add(20 * time.Second))
	var b [512]byte
	for {
		n, err := c.notify.Read(b[:])
		if err != nil {
			t.Fatalf("waiting for %q: %v\n%s", message, err, c.stderr)
		}
		if string(b[:n]) == message {
			return
		}
	}
}

func (c *child) end(t testing.TB) syscall.WaitStatus {
	t.Helper()
	c.cmd.Wait()
	return c.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

func TestProcessServesInheritedSocketsAndDrains(t *testing.T) {
	spec := testSpec()
	spec.ArbiterPID = os.Getpid()
	spec.HeartbeatInterval = time.Second
	c := spawn(t, spec, nil)
	c.await(t, "WATCHDOG=1")
	c.await(t, "READY=1")
	resp, err := httpClient(t).Get("http://" + c.addr + "/pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(pid) != strconv.Itoa(c.cmd.Process.Pid) {
		t.Errorf("answered by %s, want %d", pid, c.cmd.Process.Pid)
	}
	c.cmd.Process.Signal(syscall.SIGTERM)
	c.await(t, "STOPPING=1")
	if s := c.end(t); !s.Exited() || s.ExitStatus() != 0 {
		t.Errorf("%v\n%s", s, c.stderr)
	}
}

func TestProcessPrintsItsStacksOnSIGABRTAndDiesOfIt(t *testing.T) {
	c := spawn(t, testSpec(), func(cmd *exec.Cmd) { cmd.Dir = t.TempDir() }) // for a core file
	c.await(t, "READY=1")
	start := time.Now()
	c.cmd.Process.Signal(syscall.SIGABRT)
	s := c.end(t)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v: a caught SIGQUIT holds up the runtime", d)
	}
	if !s.Signaled() || s.Signal() != syscall.SIGABRT {
		t.Errorf("ended with %v", s)
	}
	if out := c.stderr.String(); strings.Count(out, "goroutine ") < 3 || !strings.Contains(out, "worker.(*process).run") {
		t.Errorf("no stacks: %s", out)
	}
}

func TestProcessExitCodes(t *testing.T) {
	noRoot := testSpec()
	noRoot.Handler = "static"
	noTLS := testSpec()
	noTLS.HTTP.TLSCert, noTLS.HTTP.TLSKey = "/nonexistent", "/nonexistent"
	for name, c := range map[string]struct {
		spec Spec
		f    func(*exec.Cmd)
		want int
	}{
		"app failed to load":      {noRoot, nil, 4},
		"no certificate":          {noTLS, nil, 3},
		"descriptor is no socket": {testSpec(), func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "LISTEN_FDS=2") }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			child := spawn(t, c.spec, c.f)
			if s := child.end(t); s.ExitStatus() != c.want {
				t.Errorf("%v, want exit code %d\n%s", s, c.want, child.stderr)
			}
		})
	}
}

func TestProcessQuickStop(t *testing.T) {
	c := spawn(t, testSpec(), nil)
	c.await(t, "READY=1")
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /sleep?d=60s HTTP/1.1\r\nHost: x\r\n\r\n")
	c.cmd.Process.Signal(syscall.SIGQUIT)
	if s := c.end(t); s.ExitStatus() != 0 {
		t.Errorf("%v\n%s", s, c.stderr)
	}
	if strings.Contains(c.stderr.String(), "goroutine") {
		t.Error("SIGQUIT printed stacks")
	}
}
