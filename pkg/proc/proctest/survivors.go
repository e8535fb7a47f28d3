package proctest

// Members implements proc.System.
func (f *Fake) Members() map[int][]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	members := make(map[int][]int)
	for _, p := range f.all {
		if !p.dead {
			members[p.pgid] = append(members[p.pgid], p.pid)
		}
	}
	return members
}
