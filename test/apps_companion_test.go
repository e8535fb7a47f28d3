//go:build linux

package test

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

func TestCompanionsOfOtherProjects(t *testing.T) {
	t.Parallel()
	need(t, "redis-server", "/usr/bin/python3")
	s := startApp(t, "companions", app{})
	s.awaitCompanion("once", control.Exited)
	for _, name := range []string{"redis", "lines", "cron"} {
		s.awaitCompanion(name, control.Running)
	}
	dir := s.appDir

	t.Run("a database says when it is ready, and keeps what it has over a crash", func(t *testing.T) {
		before := s.awaitCompanion("redis", control.Running)
		if before.UptimeSeconds > 20 {
			t.Fatalf("redis is up for %v s: nobody can tell what made it RUNNING", before.UptimeSeconds)
		}
		redis := dir + "/gofork-redis.sock"
		if got := ask(t, redis, "SET fruit pear"); got != "+OK" {
			t.Fatalf("SET answered %q", got)
		}
		m := s.mark()
		kill(t, mustLookup(t, before.PID), syscall.SIGKILL)
		s.awaitSince(m, "companion.exited", "companion", "redis", "expected", false, "signal", "SIGKILL")
		s.awaitSince(m, "companion.running", "companion", "redis")
		if got := ask(t, redis, "GET fruit"); got != "$4" { // the length of what follows
			t.Errorf("GET answered %q after the crash, want a value of 4 bytes", got)
		}
	})

	t.Run("a socket server keeps its own socket over a restart", func(t *testing.T) {
		lines := dir + "/gofork-lines.sock"
		answers := func() int {
			pid, rest, _ := strings.Cut(ask(t, lines, "hello"), " ")
			n, err := strconv.Atoi(pid)
			if err != nil || rest != "hello" {
				t.Fatalf("the socket server answered %q %q", pid, rest)
			}
			return n
		}
		before := answers()
		m := s.mark()
		s.must("companion", "restart", "lines")
		s.awaitSince(m, "companion.exited", "companion", "lines", "expected", true, "code", 0)
		eventually(t, "it listens again", func() bool { return there(lines) })
		if after := answers(); after == before {
			t.Errorf("pid %d answers before and after the restart", after)
		}
	})

	t.Run("a script that fails is run again and ends nothing", func(t *testing.T) {
		pid := companion(t, s.look(), "cron").PID
		m := s.mark()
		for range 2 {
			s.journal.await(t, m, says("cleanup failed with 1"), "another run")
			m = s.mark()
		}
		if now := companion(t, s.look(), "cron").PID; now != pid {
			t.Errorf("the loop has pid %d, want still %d", now, pid)
		}
	})

	m := s.mark()
	s.stopAll()
	for _, name := range []string{"redis", "lines", "cron"} {
		s.awaitSince(m, "companion.exited", "companion", name, "expected", true, "code", 0)
	}
}

// ask sends a line to a unix socket and returns the first line of the answer.
func ask(t *testing.T, socket, line string) string {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "%s\r\n", line); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return strings.TrimRight(answer, "\r\n")
}
