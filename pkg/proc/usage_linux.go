package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// clockTick is what /proc counts CPU time in: USER_HZ, which is 100 for every
// program on every architecture that Go runs on, whatever the kernel's own HZ is.
const clockTick = time.Second / 100

// UsageOf reads what a process uses now. A process that has ended and was not
// reaped yet uses no memory any more.
func UsageOf(pid int) (Usage, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Usage{}, fmt.Errorf("cannot read the usage of process %d: %w", pid, reason(err))
	}
	u, ok := parseUsage(stat)
	if !ok {
		return Usage{}, fmt.Errorf("cannot read the usage of process %d: malformed stat %q", pid, stat)
	}
	return u, nil
}

// parseUsage reads the same line as parseStat does.
func parseUsage(stat []byte) (u Usage, ok bool) {
	const utime, stime, rss = 11, 12, 21 // after NAME
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= rss {
		return Usage{}, false
	}
	var n [3]int64
	for i, at := range []int{utime, stime, rss} {
		v, err := strconv.ParseInt(string(fields[at]), 10, 64)
		if err != nil {
			return Usage{}, false
		}
		n[i] = v
	}
	return Usage{CPU: time.Duration(n[0]+n[1]) * clockTick, RSS: n[2] * int64(os.Getpagesize())}, true
}
