package proc_test

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/proc"
)

func TestGroupIsWatchedWhenTheLeaderDiesFirst(t *testing.T) {
	for _, c := range []struct {
		name  string
		adopt uintptr
	}{
		{"as subreaper", 1},
		{"without adoption", 0}, // the member's end is heard through its pidfd
	} {
		t.Run(c.name, func(t *testing.T) {
			subreaper(t, c.adopt)
			s := newSystem(t)
			leader, out := s.reading(testChild("fork-grandchild"))
			member := number(t, line(t, out))
			if e := s.exit(leader); !e.GroupAlive {
				t.Fatalf("the group is reported dead while %d lives: %+v", member, e)
			}
			if len(s.gone) > 0 {
				t.Fatalf("gone too early: %v", s.gone)
			}
			s.calm()
			if err := s.SignalGroup(leader, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			s.untilGone(leader)
			if proc.Alive(member) {
				t.Error("the member lives")
			}
			if err := s.SignalGroup(leader, syscall.SIGTERM); !errors.Is(err, proc.ErrGone) {
				t.Errorf("a signal to a group that has ended: %v", err)
			}
			if c.adopt == 1 {
				s.exit(member)
				if !slices.Equal(s.orphaned, []int{member}) {
					t.Errorf("orphans: %v, want %d", s.orphaned, member)
				}
			}
		})
	}
}

// The last member of the group is the child of a process that has left it, lives,
// and never waits: no SIGCHLD comes here, and kill(2) finds the zombie for ever.
func TestGroupEndIsHeardWhenTheParentLeftTheGroup(t *testing.T) {
	subreaper(t, 1)
	s := newSystem(t)
	leader, out := s.reading(testChild("fork-leaver"))
	var leaver, member int
	if _, err := fmt.Sscan(line(t, out), &leaver, &member); err != nil {
		t.Fatal(err)
	}
	if err := s.Signal(leader, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := s.exit(leader); !e.GroupAlive {
		t.Fatal("the group is reported dead while its member lives")
	}
	s.calm()
	if err := syscall.Kill(member, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.untilGone(leader)
	if !proc.Alive(leaver) {
		t.Fatal("the parent is gone: the test shows nothing")
	}
	if !slices.Contains(s.Descendants(), leaver) {
		t.Error("what left the group is not among the descendants")
	}
}

func TestGroupOfAnotherSupervisorIsWatched(t *testing.T) {
	subreaper(t, 1)
	s := newSystem(t)
	manager, out := s.reading(testChild("supervise-until-killed"))
	companion := number(t, line(t, out))
	if err := s.SignalGroup(companion, 0); !errors.Is(err, proc.ErrGone) {
		t.Errorf("a signal to a group that nobody watches: %v", err)
	}
	if !s.Watch(companion) {
		t.Fatal("the group of a live companion is said to be dead")
	}
	s.calm()
	if err := s.SignalGroup(companion, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.untilGone(companion) // through the pidfd: its parent is the manager
	if s.Watch(companion) {
		t.Error("a dead group can be watched")
	}
	if _, exited := s.exits[manager]; exited {
		t.Error("the manager died too")
	}
}

func TestAdoptedLeaderCanBeSignalledUntilItIsReaped(t *testing.T) {
	subreaper(t, 1)
	s := newSystem(t)
	manager, out := s.reading(testChild("fork-group"))
	companion := number(t, line(t, out))
	s.exit(manager)
	if err := s.Signal(companion, syscall.SIGTERM); !errors.Is(err, proc.ErrGone) {
		t.Errorf("a signal to an unknown process: %v", err)
	}
	if !s.Watch(companion) {
		t.Fatal("not alive")
	}
	if err := s.Signal(companion, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.untilGone(companion)
	if e := s.exit(companion); e.Signal != syscall.SIGTERM {
		t.Errorf("the adopted leader %v, want killed by SIGTERM", e)
	}
	if err := s.Signal(companion, syscall.SIGTERM); !errors.Is(err, proc.ErrGone) {
		t.Errorf("a signal to a reaped process: %v", err)
	}
}

func TestSignalGroupNeverReachesOurselvesOrEverybody(t *testing.T) {
	s := newSystem(t)
	for _, pgid := range []int{-1, 0, 1} {
		if err := s.SignalGroup(pgid, 0); !errors.Is(err, proc.ErrGone) {
			t.Errorf("SignalGroup(%d) = %v, want ErrGone", pgid, err)
		}
		if s.Watch(pgid) {
			t.Errorf("Watch(%d) = true", pgid)
		}
	}
}
