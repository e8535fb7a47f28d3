package cli

import (
	"runtime"
	"sync"
)

// spareThreads is how many threads a supervisor keeps beside one for each
// processor: those of Go itself are among them, and those of goroutines that a
// system call blocks. One costs 20 KiB.
const spareThreads = 5

// mostProcessors bounds what is kept for processors: a supervisor seldom has more
// to do at a time.
const mostProcessors = 8

// keepThreads makes the threads that a supervisor can come to need. Go lets none
// end that it has, but ends the program when it wants one more and the system
// gives none (golang/go#14835). Where an application has used up what a pids limit
// allows, the supervisor would end with its next garbage collection.
func keepThreads() {
	var made, over sync.WaitGroup
	leave := make(chan struct{})
	for range min(runtime.GOMAXPROCS(0), mostProcessors) + spareThreads {
		made.Add(1)
		over.Go(func() {
			runtime.LockOSThread() // each has one to itself
			defer runtime.UnlockOSThread()
			made.Done()
			<-leave
		})
	}
	made.Wait()
	close(leave)
	over.Wait()
}
