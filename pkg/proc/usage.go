package proc

import "time"

// Usage is what a process uses: all of its threads, none of its children.
type Usage struct {
	RSS int64         // resident memory, bytes
	CPU time.Duration // user and system, since its start
}
