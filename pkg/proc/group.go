package proc

import (
	"errors"
	"os"
	"syscall"
)

// group is a process group whose leader is not an unreaped child started here.
type group struct {
	leaderReaped bool // by us: a process with the number of the group is a stranger
}

// reused says that the group ended unnoticed and its number belongs to a
// stranger: no process can get it while the group has members, and the leader
// that had it was reaped here.
func (g *group) reused(pgid int) bool {
	return g.leaderReaped && !errors.Is(syscall.Kill(pgid, 0), syscall.ESRCH)
}

// groupExists is the fast path: no system call but one. It is true for a group
// of zombies too, and on EPERM, which says that there is a member.
func groupExists(pgid int) bool {
	return !errors.Is(syscall.Kill(-pgid, 0), syscall.ESRCH)
}

// Watch implements [System].
func (t *Table) Watch(pgid int) bool {
	if pgid <= 1 || !groupExists(pgid) {
		return false
	}
	if _, own := t.children[pgid]; own {
		return true // the exit of its leader looks at the group anyway
	}
	members := liveMembers(map[int]bool{pgid: true})
	if !t.stillThere(pgid, members) {
		return false
	}
	if t.groups[pgid] == nil {
		t.groups[pgid] = &group{}
	}
	t.watchMembers(members)
	return true
}

// checkGroups decides for the groups of the leaders that just exited, and for
// every group watched before, whether anybody of them lives. One pass over the
// processes serves all, and none is needed when kill(2) knows none of them.
func (t *Table) checkGroups(changes *Changes) {
	wanted := make(map[int]bool)
	for pgid, g := range t.groups {
		if !g.reused(pgid) && groupExists(pgid) {
			wanted[pgid] = true
		}
	}
	for _, e := range changes.Exits {
		if groupExists(e.PID) {
			wanted[e.PID] = true
		}
	}
	var members map[int][]process
	if len(wanted) > 0 {
		members = liveMembers(wanted)
	}
	for pgid := range t.groups {
		if !wanted[pgid] || !t.stillThere(pgid, members) {
			delete(t.groups, pgid)
			changes.Gone = append(changes.Gone, pgid)
		}
	}
	for i := range changes.Exits {
		e := &changes.Exits[i]
		if wanted[e.PID] && t.stillThere(e.PID, members) {
			e.GroupAlive = true
			t.groups[e.PID] = &group{leaderReaped: true}
		}
	}
	t.watchMembers(members)
}

// stillThere says whether a group that existed before the pass has living
// members. A pass that saw no member, not even a dead one, of a group that still
// exists was not allowed to see it (/proc mounted with hidepid): then it lives.
func (t *Table) stillThere(pgid int, members map[int][]process) bool {
	seen, found := members[pgid]
	if !found {
		return groupExists(pgid)
	}
	return len(seen) > 0
}

// watchMembers makes the end of every living member heard. Our own children send
// SIGCHLD. Any other member would end in silence when its parent is alive and
// elsewhere, now or later, and is followed through a pidfd. A member that appears
// after this pass is a child of one that is heard; only when that parent leaves
// the group and lives on is the end of the new one found late, by the next Sweep.
func (t *Table) watchMembers(members map[int][]process) {
	self := os.Getpid()
	foreign := make(map[int]bool)
	for pgid, list := range members {
		if t.groups[pgid] == nil {
			continue
		}
		for _, p := range list {
			if p.parent != self {
				foreign[p.pid] = true
			}
		}
	}
	t.follow(foreign)
}
