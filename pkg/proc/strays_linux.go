package proc

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// KillDescendants implements [System]. A pid cannot change its owner between the
// look and the signal unless it was reaped, and the only one who reaps what has
// been adopted is this goroutine; deeper down a parent may, and then its child's
// number would have to come round within microseconds.
func (t *Table) KillDescendants() []int {
	left := t.Descendants()
	for _, pid := range left {
		_ = syscall.Kill(pid, syscall.SIGKILL) // EPERM shows in that it stays
	}
	return left
}

// Strays implements [System].
func (t *Table) Strays() []Stray {
	if childless() {
		return nil
	}
	var found []Stray
	self := os.Getpid()
	for _, p := range processes() {
		if p.parent != self || p.dead {
			continue
		}
		if _, own := t.children[p.pid]; own {
			continue
		}
		found = append(found, Stray{PID: p.pid, Group: p.group, Env: environOf(p.pid)})
	}
	return found
}

// environOf is the environment that a process was started with; a program may
// have overwritten it, and then nothing can be said.
func environOf(pid int) []string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return nil
	}
	var env []string
	for _, kv := range bytes.Split(data, []byte{0}) {
		if len(kv) > 0 {
			env = append(env, string(kv))
		}
	}
	return env
}
