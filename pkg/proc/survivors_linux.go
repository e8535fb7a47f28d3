package proc

// Members implements [System].
func (t *Table) Members() map[int][]int {
	members := make(map[int][]int)
	for _, p := range processes() {
		if !p.dead {
			members[p.group] = append(members[p.group], p.pid)
		}
	}
	return members
}
