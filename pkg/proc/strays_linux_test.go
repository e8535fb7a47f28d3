package proc_test

import (
	"slices"
	"syscall"
	"testing"
)

func TestStraysAreAdoptedChildrenOnly(t *testing.T) {
	subreaper(t, 1)
	s := newSystem(t)
	own := s.start(testChild("hang-silently"))
	c := testChild("fork-group")
	c.Env = []string{"MARK=1"}
	manager, out := s.reading(c)
	companion := number(t, line(t, out))
	s.exit(manager)
	strays := s.Strays()
	if len(strays) != 1 || strays[0].PID != companion || strays[0].Group != companion || !slices.Equal(strays[0].Env, c.Env) {
		t.Errorf("strays %+v beside our own %d, want %d with %q", strays, own, companion, c.Env)
	}
}

func TestKillDescendantsReachesEveryGroup(t *testing.T) {
	subreaper(t, 1)
	s := newSystem(t)
	leader, out := s.reading(testChild("fork-leaver"))
	line(t, out) // by now one has left the group and one has stayed
	own := s.start(testChild("ignore-term"))
	if left := s.KillDescendants(); len(left) != 4 || !slices.Contains(left, leader) || !slices.Contains(left, own) {
		t.Errorf("killed %v, want %d, its two descendants and %d", left, leader, own)
	}
	s.until("nobody is left", func() bool { return len(s.Descendants()) == 0 })
	if e := s.exit(own); e.Signal != syscall.SIGKILL {
		t.Errorf("the child %v", e)
	}
}
