package proc_test

import (
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/proc"
)

// The cost of one child from start to reaped exit: /bin/true through ForkExec and
// wait4 as the floor, through the table, and through the table and the shim.

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

func BenchmarkSpawnDirect(b *testing.B) { benchmarkSpawn(b, proc.Command{}) }

func BenchmarkSpawnShim(b *testing.B) { benchmarkSpawn(b, proc.Command{ListenPID: true}) }

func BenchmarkSpawnShimWithGate(b *testing.B) { benchmarkSpawn(b, proc.Command{OOMScoreAdj: 1}) }

func benchmarkSpawn(b *testing.B, c proc.Command) {
	s := newSystem(b)
	c.Path, c.Umask = "/bin/true", proc.InheritUmask
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
