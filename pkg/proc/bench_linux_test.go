package proc_test

import (
	"runtime"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/proc"
)

// The cost of one child from start to reaped exit: /bin/true through ForkExec and
// wait4 as the floor, and through the table. The memory of the supervisor costs a
// child nothing, for they share it: BenchmarkSpawnBeside has 256 MiB of it.

func BenchmarkSpawnFloor(b *testing.B) {
	for b.Loop() {
		pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSpawn(b *testing.B) { benchmarkSpawn(b) }

func BenchmarkSpawnBeside(b *testing.B) {
	memory := make([]byte, 256<<20)
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	benchmarkSpawn(b)
	runtime.KeepAlive(memory)
}

func benchmarkSpawn(b *testing.B) {
	s := newSystem(b)
	c := proc.Command{Path: "/bin/true", Umask: proc.InheritUmask, ListenPID: true}
	for b.Loop() {
		pid := s.start(c)
		for done := false; !done; {
			<-s.Changed()
			for _, e := range s.Sweep().Exits {
				done = done || e.PID == pid
			}
		}
	}
}
