//go:build !linux

package proc

// Members implements [System]; without /proc nobody can be named.
func (t *Table) Members() map[int][]int { return nil }
