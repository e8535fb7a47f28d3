package tally

import (
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// childFD is where a test binary that plays a worker finds the page.
const childFD = 3

// TestMain makes the test binary play a worker that dies in the middle of a request.
func TestMain(m *testing.M) {
	if os.Getenv("TALLY_CHILD") != "" {
		p, err := Open(childFD)
		if err != nil {
			panic(err)
		}
		p.Begin()
		p.End(200, 3*time.Millisecond)
		p.Begin()
		p.End(503, time.Minute)
		p.Begin()
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
	goleak.VerifyTestMain(m)
}

func newTest(t testing.TB) (*Page, int) {
	t.Helper()
	p, fd, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd); p.Close() })
	return p, fd
}

func TestCountsOutliveAWorkerThatWasKilled(t *testing.T) {
	p, fd := newTest(t)
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	page := os.NewFile(uintptr(dup), "page")
	defer page.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(exe)
	child.Env = append(os.Environ(), "TALLY_CHILD=1")
	child.ExtraFiles = []*os.File{page}
	_ = child.Run() // killed
	c := p.Read()
	want := Counts{Begun: 3, Answered: [Classes]uint64{2: 1, 5: 1}, Time: time.Minute + 3*time.Millisecond}
	want.Buckets[0], want.Buckets[len(Bounds)] = 1, 1
	if c != want {
		t.Errorf("%+v, want %+v", c, want)
	}
	if n := c.InFlight(); n != 1 {
		t.Errorf("%d in flight, want the one that it died in", n)
	}
}

func TestBucketsHoldTheirUpperBound(t *testing.T) {
	p, _ := newTest(t)
	for i, bound := range Bounds {
		p.End(200, bound)
		p.End(200, bound+1)
		if c := p.Read(); c.Buckets[i] < 1 || c.Buckets[i+1] != 1 {
			t.Fatalf("%v: %v", bound, c.Buckets)
		}
	}
}

func TestStrangeStatusIsBrokenOff(t *testing.T) {
	p, _ := newTest(t)
	for _, status := range []int{0, -700, 600, 1 << 40} {
		p.Begin()
		p.End(status, 0)
	}
	if c := p.Read(); c.Answered[0] != 4 || c.InFlight() != 0 {
		t.Errorf("%+v", c)
	}
}

func TestAWorkerCannotTakeTheMemoryAway(t *testing.T) {
	_, fd := newTest(t)
	for _, n := range []int64{0, 1 << 20} {
		if err := unix.Ftruncate(fd, n); err != unix.EPERM {
			t.Errorf("ftruncate to %d: %v, want EPERM", n, err)
		}
	}
}

func TestOpenRefusesWhatIsNoPage(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dup, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dup); err == nil {
		t.Error("a file that is too short was mapped")
	}
	if _, err := Open(1 << 20); err == nil {
		t.Error("a descriptor that is not open was mapped")
	}
}

func TestSpoiltPageShowsNothingInFlight(t *testing.T) {
	c := Counts{Begun: 1, Answered: [Classes]uint64{2: 7}}
	if n := c.InFlight(); n != 0 {
		t.Errorf("%d", n)
	}
}

func TestReaderNeverSeesMoreAnsweredThanBegun(t *testing.T) {
	p, _ := newTest(t)
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 20_000 {
				p.Begin()
				p.End(200, 0)
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if c := p.Read(); c.Answered[2] > c.Begun {
			t.Fatalf("%d answered of %d", c.Answered[2], c.Begun)
		}
	}
	var sum Counts
	sum.Add(p.Read())
	sum.Add(p.Read())
	if sum.Begun != 160_000 || sum.Answered[2] != 160_000 || sum.Buckets[0] != 160_000 {
		t.Errorf("%+v", sum)
	}
}

func BenchmarkRequest(b *testing.B) {
	p, _ := newTest(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.Begin()
			p.End(200, 42*time.Millisecond)
		}
	})
}
