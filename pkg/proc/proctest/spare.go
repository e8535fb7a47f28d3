package proctest

// Spare implements proc.System: the process no longer counts as a descendant.
func (f *Fake) Spare(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spared[pid] = true
}
