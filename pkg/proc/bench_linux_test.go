package proc_test

import (
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/proc"
)

// The cost of one child from start to reaped exit: /bin/true through ForkExec and
// wait4 as the floor, through the table, and through the table with its own pid,
// which takes our own fork.

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

func BenchmarkSpawnOwnPID(b *testing.B) { benchmarkSpawn(b, proc.Command{ListenPID: true}) }

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
