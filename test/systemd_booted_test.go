//go:build linux && systemd

package test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// booted is a systemd that is process 1 of namespaces of its own, with the shipped
// units and none that these depend on by default: a boot would clear /tmp and set the
// kernel's parameters, which are this machine's.
type booted struct {
	t   *testing.T
	pid int // its pid out here
}

// bootScript makes the file systems and becomes systemd. Its arguments: the binary, the
// directory of the units, the address of the socket unit.
const bootScript = `
set -e
binary=$1 units=$2 address=$3
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /usr/local/bin
cp "$binary" /usr/local/bin/gofork
chmod 755 /usr/local/bin/gofork
mkdir -p /run/systemd/system/gofork.service.d /run/systemd/system/gofork.socket.d /etc/gofork
cp "$units"/gofork.service "$units"/gofork.socket /run/systemd/system
mount -t tmpfs tmpfs /etc/gofork
cp "$units"/app.toml /etc/gofork
mount -t tmpfs tmpfs /etc/systemd/system
for dir in /tmp /var/lib /var/log /var/tmp; do mount -t tmpfs -o mode=1777 tmpfs $dir; done
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/unified /sys/fs/cgroup/systemd
printf '[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=\nListenStream=%s\n' "$address" >/run/systemd/system/gofork.socket.d/address.conf
printf '[Unit]\nDefaultDependencies=no\n[Service]\nWatchdogSec=2s\nStandardError=append:/run/gofork.log\n' >/run/systemd/system/gofork.service.d/test.conf
printf '[Unit]\nDefaultDependencies=no\n' >/run/systemd/system/nothing.target
export container=other
exec /usr/lib/systemd/systemd --system --unit=nothing.target --log-target=console --show-status=0
`

func boot(t *testing.T, address string) *booted {
	t.Helper()
	units, err := filepath.Abs("../configs/systemd")
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command("unshare", "--fork", "--pid", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup", "--mount-proc",
		"bash", "-c", bootScript, "boot", binary(t), units, address)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &booted{t: t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("gofork's log:\n%s\n%s", s.output("cat", "/run/gofork.log"), s.output("systemctl", "status", "--no-pager", "gofork.service"))
		}
		_ = cmd.Process.Kill() // and its child with it, which is process 1 of all others
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("systemd said:\n%s", &said)
		}
	})
	eventually(t, "systemd runs", func() bool {
		for _, p := range processes() {
			if p.PPID == cmd.Process.Pid && p.Comm == "systemd" {
				s.pid = p.PID
			}
		}
		return s.pid != 0 && strings.TrimSpace(s.output("systemctl", "is-system-running")) == "running"
	})
	return s
}

// inside is a command in the namespaces.
func (s *booted) inside(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s.t.Cleanup(cancel)
	return exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(s.pid), "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--"}, args...)...)
}

func (s *booted) output(args ...string) string {
	out, _ := s.inside(args...).CombinedOutput() // a state is told by a code, too
	return string(out)
}

func (s *booted) systemctl(verb string, units ...string) error {
	out, err := s.inside(append([]string{"systemctl", verb}, units...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", verb, err, out)
	}
	return nil
}

func (s *booted) must(verb string, units ...string) {
	s.t.Helper()
	if err := s.systemctl(verb, units...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *booted) property(name string) string {
	return strings.TrimSpace(s.output("systemctl", "show", "gofork.service", "--value", "--property="+name))
}

// main is the pid, in there, of the process that systemd takes for gofork.
func (s *booted) main() int {
	pid, _ := strconv.Atoi(s.property("MainPID"))
	return pid
}

// TestUnderSystemd is the shipped unit, with all its sandbox, and the shipped socket
// unit, started, reloaded, upgraded, frozen and stopped by a systemd.
func TestUnderSystemd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s := boot(t, address)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answers := func() {
		t.Helper()
		resp, err := client.Get("http://" + address + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("status %s", resp.Status)
		}
	}

	// The socket is there before the service: who comes early waits.
	s.must("start", "gofork.socket")
	early := make(chan error, 1)
	go func() {
		resp, err := client.Get("http://" + address + "/")
		if err == nil {
			resp.Body.Close()
		}
		early <- err
	}()
	s.must("start", "gofork.service") // returns with READY=1
	if err := <-early; err != nil {
		t.Errorf("who came before the service: %v", err)
	}
	if state, text := s.property("ActiveState"), s.property("StatusText"); state != "active" || !strings.Contains(text, "workers ready") {
		t.Errorf("it is %s, %q", state, text)
	}
	if uid := statusLineInside(s, s.main(), "Uid"); strings.HasPrefix(uid, "0\t") {
		t.Errorf("DynamicUser is in force, and gofork runs as %q", uid)
	}
	first := s.main()
	answers()

	// A good reload, and one that is refused: systemctl knows.
	s.must("reload", "gofork.service")
	if got := s.output("gofork", "status", "--json", "-c", "/etc/gofork/app.toml"); !strings.Contains(got, `"generation": 2`) {
		t.Errorf("the status after a reload:\n%s", got)
	}
	s.output("sh", "-c", "cp /etc/gofork/app.toml /etc/gofork/good; echo nonsense = 1 >>/etc/gofork/app.toml")
	if err := s.systemctl("reload", "gofork.service"); err == nil {
		t.Error("systemctl reload succeeds with a broken file")
	}
	s.output("cp", "/etc/gofork/good", "/etc/gofork/app.toml")
	if s.property("ActiveState") != "active" || s.main() != first {
		t.Errorf("after a reload that was refused it is %s, pid %d", s.property("ActiveState"), s.main())
	}
	answers()

	// A hot upgrade: systemd follows MAINPID when the old one has gone.
	s.output("systemctl", "kill", "--kill-who=main", "--signal=USR2", "gofork.service")
	eventually(t, "the new gofork serves", func() bool { return strings.Contains(s.property("StatusText"), "upgrading") })
	s.output("systemctl", "kill", "--kill-who=main", "--signal=TERM", "gofork.service")
	eventually(t, "systemd follows it", func() bool { return s.main() != first && s.main() != 0 })
	if s.property("ActiveState") != "active" || s.property("NRestarts") != "0" {
		t.Errorf("after the upgrade it is %s, with %s restarts", s.property("ActiveState"), s.property("NRestarts"))
	}
	answers()

	// One that hangs says WATCHDOG=1 no more, and is replaced.
	hung := s.main()
	s.output("kill", "-STOP", strconv.Itoa(hung))
	eventually(t, "systemd replaces one that hangs", func() bool {
		return s.property("NRestarts") == "1" && s.main() != hung && s.property("ActiveState") == "active"
	})
	answers()

	began := time.Now()
	s.must("stop", "gofork.socket", "gofork.service")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if state, result := s.property("ActiveState"), s.property("Result"); state != "inactive" || result != "success" {
		t.Errorf("stopped, it is %s, %s", state, result)
	}
	for _, p := range processes() {
		if p.Comm == "gofork" && inNamespaceOf(p.PID, s.pid) {
			t.Errorf("%v is left", p)
		}
	}
}

// statusLineInside is a line of /proc/PID/status, of a pid in there.
func statusLineInside(s *booted, pid int, key string) string {
	for line := range strings.Lines(s.output("cat", fmt.Sprintf("/proc/%d/status", pid))) {
		if name, value, _ := strings.Cut(line, ":"); name == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// inNamespaceOf says whether both are in one pid namespace.
func inNamespaceOf(pid, other int) bool {
	var a, b syscall.Stat_t
	return syscall.Stat(fmt.Sprintf("/proc/%d/ns/pid", pid), &a) == nil &&
		syscall.Stat(fmt.Sprintf("/proc/%d/ns/pid", other), &b) == nil && a.Ino == b.Ino
}
