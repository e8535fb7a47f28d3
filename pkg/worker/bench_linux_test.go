package worker

import (
	"net"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	benchClients = 8
	// benchRounds is odd, for a median.
	benchRounds = 7
)

// BenchmarkHello compares the handler "hello" in a worker with the same handler
// under net/http alone, each in a process of its own with 1 and with 2 Ps. The
// two take turns with new processes in each, and what is compared is the CPU
// time that a process spends on a request, which the client's share of the
// machine does not disturb:
//
//	plain-ns, worker-ns   CPU time a request, median of the rounds
//	ratio                 worker to plain, median of the rounds
//	ratio-min, ratio-max  the rounds' extremes
//
// With -benchtime 20000x and more a round is long enough.
func BenchmarkHello(b *testing.B) {
	for _, procs := range []string{"1", "2"} {
		b.Run("procs="+procs, func(b *testing.B) {
			var plain, worker, ratio []float64
			for round := range benchRounds {
				measure := []func(){
					func() { plain = append(plain, benchHello(b, procs, plainEnv+"=1")) },
					func() { worker = append(worker, benchHello(b, procs)) },
				}
				if round%2 == 1 {
					slices.Reverse(measure)
				}
				for _, f := range measure {
					f()
				}
				ratio = append(ratio, worker[round]/plain[round])
			}
			b.ReportMetric(0, "ns/op") // the client's
			b.ReportMetric(median(plain), "plain-ns")
			b.ReportMetric(median(worker), "worker-ns")
			b.ReportMetric(median(ratio), "ratio")
			b.ReportMetric(slices.Min(ratio), "ratio-min")
			b.ReportMetric(slices.Max(ratio), "ratio-max")
		})
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// benchHello sends b.N requests to a new process and returns its CPU time a
// request, in ns.
func benchHello(b *testing.B, procs string, env ...string) float64 {
	c := spawn(b, testSpec(), func(cmd *exec.Cmd) {
		cmd.Env = append(append(cmd.Env, "GOMAXPROCS="+procs), env...)
	})
	c.await(b, "READY=1")
	keepAliveLoad(b, c.addr, 1000) // to grow heap and stacks
	before := cpuTime(b, c.cmd.Process.Pid)
	keepAliveLoad(b, c.addr, b.N)
	spent := cpuTime(b, c.cmd.Process.Pid) - before
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	c.end(b)
	return float64(spent) / float64(b.N)
}

// cpuTime is the CPU time of all threads of a process: clock_getcpuclockid(3).
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	const schedClock = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// keepAliveLoad sends requests over keep-alive connections, with as little work
// on the client's side as possible.
func keepAliveLoad(b *testing.B, addr string, requests int) {
	request := []byte("GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	var left atomic.Int64
	left.Store(int64(requests))
	var load sync.WaitGroup
	for range benchClients {
		load.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			var answer [4096]byte
			for left.Add(-1) >= 0 {
				if _, err := c.Write(request); err != nil {
					b.Error(err)
					return
				}
				// A small answer arrives whole.
				if _, err := c.Read(answer[:]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	load.Wait()
}
