package proc

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestUsageOfThisProcessGrowsWithItsWork(t *testing.T) {
	before, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.RSS < 1<<20 {
		t.Errorf("resident memory %d bytes", before.RSS)
	}
	var own syscall.Rusage
	for begin := cpuOf(t, &own); cpuOf(t, &own) < begin+100*time.Millisecond; {
	}
	after, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.CPU - before.CPU; grown < 70*time.Millisecond || after.CPU > cpuOf(t, &own)+50*time.Millisecond {
		t.Errorf("CPU time %v after %v, getrusage says %v", after.CPU, before.CPU, cpuOf(t, &own))
	}
}

func cpuOf(t *testing.T, u *syscall.Rusage) time.Duration {
	t.Helper()
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestUsageOfNobodyIsGone(t *testing.T) {
	if _, err := UsageOf(1 << 29); !errors.Is(err, ErrGone) && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestUsageIsReadBehindAnyName(t *testing.T) {
	u, ok := parseUsage([]byte("7 (a ) b (c) S 1 7 7 0 -1 0 0 0 0 0 150 50 9 9 20 0 1 0 1000 4096 3 0\n"))
	if want := (Usage{RSS: 3 * int64(os.Getpagesize()), CPU: 2 * time.Second}); !ok || u != want {
		t.Errorf("%+v %v, want %+v", u, ok, want)
	}
	for _, bad := range []string{"", "7 (x) S 1", "7 (x) S 1 7 7 0 -1 0 0 0 0 0 x 50 9 9 20 0 1 0 1000 4096 3 0"} {
		if _, ok := parseUsage([]byte(bad)); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}
