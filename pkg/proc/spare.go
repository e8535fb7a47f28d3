package proc

// Spare implements [System].
func (t *Table) Spare(pid int) {
	if t.spared == nil {
		t.spared = make(map[int]bool)
	}
	t.spared[pid] = true
}
