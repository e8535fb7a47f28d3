package cli

import (
	"math"
	"runtime/debug"
	"time"

	"github.com/gofork/gofork/pkg/proc"
)

// loadMemory is how much a supervisor may take while it starts, in bytes: a
// thousand companions need a third of it.
const loadMemory = 64 << 20

// memory is how much of it a supervisor takes: it lives beside those whom the
// memory is for, and works when something happens, which is seldom. The zero
// value leaves all to Go, which GOGC and GOMEMLIMIT in the environment ask for.
type memory struct{ managed bool }

// manageMemory collects no garbage until the start is over, within loadMemory:
// reading the configuration of a thousand companions would set the collector off
// twenty times.
func manageMemory(environ []string) memory {
	if lookupEnv(environ, "GOGC") != "" || lookupEnv(environ, "GOMEMLIMIT") != "" {
		return memory{}
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(loadMemory)
	return memory{managed: true}
}

// tidy is called when much has been done and there is nothing more to do: what
// is free goes back to the system, and so does the code that only the start
// needed. From then on garbage is collected twice as often as Go would.
func (m memory) tidy() {
	if !m.managed {
		return
	}
	debug.SetMemoryLimit(math.MaxInt64)
	debug.SetGCPercent(50)
	debug.FreeOSMemory()
	proc.ReleaseProgram()
}

// ending is called when everything is to stop: who is about to end collects nothing,
// within loadMemory. The end of a thousand companions is much to do.
func (m memory) ending() {
	if !m.managed {
		return
	}
	debug.SetMemoryLimit(loadMemory)
	debug.SetGCPercent(-1)
}

// startTime is when a worker with an application that is not large serves.
const startTime = 2 * time.Second

// releaseProgramAfterStart gives the code back that only the start of a worker or
// of a Go function needed. What they go on to use comes back by itself.
func releaseProgramAfterStart() (stop func()) {
	timer := time.AfterFunc(startTime, proc.ReleaseProgram)
	return func() { timer.Stop() }
}
