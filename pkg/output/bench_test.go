package output

import (
	"io"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const benchBytes = 500_000_000

// benchmarkCapture measures the capture of a child that prints 500 MB of
// 100-byte lines: MB/s, and the CPU seconds of this process alone per GB.
func benchmarkCapture(b *testing.B, start func(fd int) (*Capture, error)) {
	b.SetBytes(benchBytes)
	var cpu time.Duration
	for b.Loop() {
		r, w, err := Pipe()
		if err != nil {
			b.Fatal(err)
		}
		before := cpuTime(b)
		c, err := start(r)
		if err != nil {
			b.Fatal(err)
		}
		pid := startPrinter(b, benchBytes, w)
		syscall.Close(w)
		<-c.Done()
		cpu += cpuTime(b) - before
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.ExitStatus() != 0 {
			b.Fatal(err, status)
		}
		if err := c.Close(0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(cpu.Seconds()/(float64(b.N)*benchBytes/1e9), "cpu-s/GB")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkCaptureToRotatedFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "app.log")
	var captures Captures
	benchmarkCapture(b, func(fd int) (*Capture, error) {
		f, err := OpenFile(FileConfig{Path: path, MaxSize: 64 << 20, Backups: 3})
		if err != nil {
			return nil, err
		}
		return captures.File(fd, f)
	})
}

func BenchmarkCaptureToRecords(b *testing.B) {
	var captures Captures
	benchmarkCapture(b, func(fd int) (*Capture, error) {
		return captures.Records(fd, Records{Line: func([]byte, bool) {}})
	})
}

func BenchmarkCaptureWithPrefix(b *testing.B) {
	var captures Captures
	benchmarkCapture(b, func(fd int) (*Capture, error) {
		return captures.Prefixed(fd, io.Discard, "app | ")
	})
}
