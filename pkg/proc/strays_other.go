//go:build !linux

package proc

import "syscall"

// KillDescendants implements [System]; without /proc it knows the children only.
func (t *Table) KillDescendants() []int {
	left := t.Descendants()
	for _, pid := range left {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return left
}

// Strays implements [System]; without subreapers there are none.
func (t *Table) Strays() []Stray { return nil }
