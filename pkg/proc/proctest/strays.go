package proctest

import (
	"syscall"

	"github.com/gofork/gofork/pkg/proc"
)

// KillDescendants implements proc.System: SIGKILL is never ignored, so the next
// look finds nobody.
func (f *Fake) KillDescendants() []int {
	left := f.Descendants()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, pid := range left {
		if p := f.all[pid]; p != nil {
			f.end(p, 0, syscall.SIGKILL)
		}
	}
	return left
}

// Strays implements proc.System; nothing is adopted unseen here.
func (f *Fake) Strays() []proc.Stray { return nil }
