// Command floor is what a supervisor cannot be faster than: fork, exec and wait4,
// and nothing else. It starts N copies of PROGRAM, with -respawn starts each
// again when it has ended, and on SIGTERM ends them all and itself.
//
// usage: floor [-respawn] N PROGRAM [ARGUMENT…]
package main

import (
	"log"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
)

func main() {
	args := os.Args[1:]
	respawn := len(args) > 0 && args[0] == "-respawn"
	if respawn {
		args = args[1:]
	}
	if len(args) < 2 {
		log.Fatal("usage: floor [-respawn] N PROGRAM [ARGUMENT…]")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		log.Fatal(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	f := floor{argv: args[1:], env: os.Environ(), live: make(map[int]bool, n)}
	for range n {
		f.start()
	}
	go func() {
		<-stop
		f.end()
	}()
	f.reap(respawn)
}

// floor has one lock, because a signal and an exit come at the same time.
type floor struct {
	argv, env []string

	mu       sync.Mutex
	live     map[int]bool
	stopping bool
}

func (f *floor) start() {
	pid, err := syscall.ForkExec(f.argv[0], f.argv, &syscall.ProcAttr{Env: f.env, Files: []uintptr{0, 1, 2}})
	if err != nil {
		log.Fatal(err)
	}
	f.live[pid] = true
}

func (f *floor) reap(respawn bool) {
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return // no child is left
		}
		f.mu.Lock()
		delete(f.live, pid)
		if respawn && !f.stopping {
			f.start()
		}
		f.mu.Unlock()
	}
}

func (f *floor) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopping = true
	for pid := range f.live {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			log.Print(err)
		}
	}
}
