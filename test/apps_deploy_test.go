//go:build linux

package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// A deployment that touches one queue: everybody else works on, the web tier is
// replaced, and the job that was running is done by the process that began it.
func TestDeploymentOfOneQueueLeavesTheOthersJobRunning(t *testing.T) {
	t.Parallel()
	need(t, gunicorn, "/usr/bin/rq", "redis-server")
	s := startApp(t, "deploy", app{})
	before := s.ready()
	pid := func(st control.Status, name string) int { return companion(t, st, name).PID }
	long := pid(before, "rq-long")

	s.becomes("/tick", "finished 1")
	job := s.mustGet("/enqueue/20")
	s.becomes("/job/"+job, "started")

	s.edit(`QUEUE_REVISION = "1"`, `QUEUE_REVISION = "2"`)
	s.mustReload()
	after := s.ready()
	if got := fmt.Sprint(after.LastReload.Companions); got != "{[] [] [rq-default] [redis rq-long scheduler]}" {
		t.Errorf("the reload's result is %v, want rq-default restarted and the others unchanged", got)
	}
	for _, name := range []string{"redis", "rq-long", "scheduler"} {
		if pid(after, name) != pid(before, name) {
			t.Errorf("%s has pid %d after the reload, want still %d", name, pid(after, name), pid(before, name))
		}
	}
	if pid(after, "rq-default") == pid(before, "rq-default") {
		t.Error("rq-default was not restarted")
	}
	if got := s.mustGet("/job/" + job); got != "started" {
		t.Errorf("the job is %q after the reload, want it still running", got)
	}
	s.becomes("/job/"+job, fmt.Sprint("finished ", long))
	s.becomes("/tick", "finished 2")

	t.Run("a queue that is restarted finishes its job first", func(t *testing.T) {
		job := s.mustGet("/enqueue/2")
		s.becomes("/job/"+job, "started")
		m := s.mark()
		s.must("companion", "restart", "rq-long")
		s.awaitSince(m, "companion.exited", "companion", "rq-long", "pid", long, "expected", true, "code", 0)
		if got, want := s.mustGet("/job/"+job), fmt.Sprint("finished ", long); got != want {
			t.Errorf("the job is %q after the restart, want %q", got, want)
		}
	})
	s.stopAll()
}

// becomes asks the application until it answers so.
func (s *server) becomes(path, want string) {
	s.t.Helper()
	last := ""
	defer func() {
		if s.t.Failed() {
			s.t.Logf("GET %s answered %q", path, last)
		}
	}()
	eventually(s.t, path+" answers "+want, func() bool {
		a := s.get(path)
		last = strings.TrimSpace(a.body)
		return a.err == nil && a.code == 200 && last == want
	})
}
