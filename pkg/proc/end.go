package proc

import "time"

// EndDescendants kills what is still below this process, for the last moment of
// a supervisor that has ended everything it knew of: daemons that left their
// group are adopted by it, and must not outlive it. It blocks until nobody is
// left, or for within; what the kernel cannot end, such as a process in
// uninterruptible sleep, is returned.
func EndDescendants(s System, within time.Duration) (survivors []int) {
	expired := time.NewTimer(within)
	defer expired.Stop()
	for {
		left := s.KillDescendants()
		if len(left) == 0 {
			return nil
		}
		select {
		case <-s.Changed():
			s.Sweep()
		case <-expired.C:
			return left
		}
	}
}
