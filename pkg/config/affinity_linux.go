package config

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// affinity is how many CPUs sched_getaffinity(2) allows now; runtime.NumCPU is what
// it was when the process started. A machine too large for CPUSet gets the latter.
func affinity() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return runtime.NumCPU()
	}
	return set.Count()
}
