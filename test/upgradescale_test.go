//go:build linux

package test

import (
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// A new binary is no reason to forget what the site was scaled to.
func TestUpgradeKeepsTheScaledCount(t *testing.T) {
	t.Parallel()
	s := start(t, upgradable)
	s.ready()
	s.must("scale", "3")
	s.awaitStatus("three workers", func(st control.Status) bool { return st.Workers.Ready == 3 })
	n := s.upgrade()
	n.awaitStatus("three workers in the new arbiter, too", func(st control.Status) bool {
		return st.Workers.Configured == 3 && st.Workers.Ready == 3
	})
	s.signal(syscall.SIGTERM)
	if code := s.exit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if st := n.promoted(); st.Workers.Configured != 3 {
		t.Errorf("%d workers wanted after the promotion, want 3", st.Workers.Configured)
	}
}

func TestUpgradeTakesACountThatTheFileHasChanged(t *testing.T) {
	t.Parallel()
	s := start(t, upgradable)
	s.ready()
	s.must("scale", "3")
	s.edit("count = 2", "count = 1")
	n := s.upgrade()
	n.awaitStatus("one worker, as the file says now", func(st control.Status) bool {
		return st.Workers.Configured == 1 && st.Workers.Ready == 1
	})
	n.end()
}
