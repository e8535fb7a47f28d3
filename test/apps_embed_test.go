//go:build linux

package test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// A program of somebody's own is gofork with another name: every command, and
// what is compiled in.
func TestEmbeddedApplicationHasAllOfGofork(t *testing.T) {
	t.Parallel()
	shop := built(t, "examples/embed")
	config := strings.ReplaceAll(readFile(t, filepath.Join("..", "examples", "embed", "shop.toml")), "127.0.0.1:8000", "@ADDR")
	// The harness names its own binary; the shell puts this one in its place.
	s := start(t, config, withWrapper("sh", "-c", `shift; exec "$0" "$@"`, shop))
	s.await("server.ready")
	s.awaitCompanion("warmup", control.Exited)
	s.awaitCompanion("mailer:2", control.Running)

	if got := s.mustGet("/"); !strings.HasPrefix(got, "welcome, slot ") {
		t.Errorf("the handler answered %q", got)
	}
	s.journal.await(t, 0, says(`"key":"catalogue"`), "the options of warmup")
	s.journal.await(t, 0, says(`"instance":2`), "the second mailer")

	own := func(args ...string) (string, error) {
		out, err := exec.Command(shop, append(args, "-s", s.sock)...).CombinedOutput()
		return string(out), err
	}
	if out, err := own("status"); err != nil || !strings.Contains(out, "workers 2 of 2 ready") {
		t.Errorf("status of the program's own: %v\n%s", err, out)
	}
	s.edit("welcome", "good evening")
	if out, err := own("reload"); err != nil {
		t.Errorf("reload of the program's own: %v\n%s", err, out)
	}
	if got := s.mustGet("/"); !strings.HasPrefix(got, "good evening, slot ") {
		t.Errorf("the handler answered %q after the reload", got)
	}

	// The factory is asked before the old workers go.
	m := s.mark()
	s.edit(`greeting = "good evening"`, "greeting = 5")
	if out, err := own("reload"); err == nil {
		t.Errorf("a reload with options that the handler refuses has succeeded:\n%s", out)
	}
	s.awaitSince(m, "reload.failed")
	if got := s.mustGet("/"); !strings.HasPrefix(got, "good evening, slot ") {
		t.Errorf("the handler answered %q after the failed reload", got)
	}
	s.edit(`handler = "shop"`, `handler = "hello"`)
	if out, err := exec.Command(shop, "check", "-c", s.file).CombinedOutput(); err == nil || !strings.Contains(string(out), `must be "shop"`) {
		t.Errorf("check takes a handler that is not compiled in: %v\n%s", err, out)
	}
	s.stop(patience)
}
