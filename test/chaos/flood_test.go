//go:build linux

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/gofork/gofork/test/bench/ps"
)

const (
	floodSize    = 16 << 20
	floodBackups = 3
)

// A companion that writes as fast as it can is captured and rotated: no line is
// lost, split or twice, the files stay as large and as many as they may be, and
// nobody else notices.
func TestAFloodOfOutputIsCapturedAndHarmsNobody(t *testing.T) {
	long := 5 * time.Second
	if thorough() {
		long = 30 * time.Second
	}
	r := newRun(t, seed(t))
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	clients := r.arrive(ctx, 4)

	log := filepath.Join(r.dir, "flood.log")
	c := baseConfig()
	c.more = fmt.Sprintf("[companion.flood]\ncommand = [%q, \"spew\", %q]\nstdout = %q\nlog_max_size = %d\nlog_backups = %d",
		r.bin.child, filepath.Join(r.dir, "flood"), log, floodSize, floodBackups)
	r.write(c)
	if res, err := r.reload(); err != nil || !res.OK {
		t.Fatalf("cannot start the flood: %+v, %v", res, err)
	}

	manager := r.aManager()
	first, err := ps.Anonymous(manager)
	if err != nil {
		t.Fatal(err)
	}
	var slowest time.Duration
	begun := time.Now()
	for until := begun.Add(long); time.Now().Before(until); pause(100 * time.Millisecond) {
		from := time.Now()
		if _, err := r.status(); err != nil {
			r.fault("no status: %v", err)
		}
		slowest = max(slowest, time.Since(from))
		r.floodedFiles(log)
		if now, err := ps.Anonymous(manager); err != nil || time.Since(begun) > settled && now > first+someMemory() {
			r.fault("the manager has %d KiB of its own, before the flood it had %d (%v)", now>>10, first>>10, err)
			break
		}
	}
	// Others are started and stopped meanwhile.
	from := time.Now()
	victim := r.companion("guard")
	r.kill(victim)
	r.within(5*time.Second, "a companion beside the flood is replaced", func() bool {
		now := r.companion("guard")
		return now != 0 && now != victim
	})
	replaced := time.Since(from)
	leave()
	clients.wg.Wait()
	if slowest > 2*time.Second {
		r.fault("a status took %s beside the flood", slowest)
	}

	if _, err := r.quiet(baseConfig()); err != nil { // the flood is no part of it, and ends
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(r.dir, "flood.wrote"))
	if err != nil {
		t.Fatal(err)
	}
	var lines, millis int
	if _, err := fmt.Sscan(string(data), &lines, &millis); err != nil {
		t.Fatal(err)
	}
	kept := r.floodedLines(log, lines)
	rate := float64(lines*lineWidth) / float64(millis) / 1000
	t.Logf("%.0f MB/s, %d lines, %d of them kept; the slowest status took %s, a companion was replaced within %s",
		rate, lines, kept, slowest.Round(time.Millisecond), replaced.Round(time.Millisecond))
	// Half of it: how fast a disk is, and who else wants it, is not tested here.
	if want := float64(spewRate()) / 1e6 / 2; rate < want {
		r.fault("the flood came through with %.0f MB/s, want %.0f at least", rate, want)
	}
	r.finish()
}

// companion returns the pid of the first instance, 0 when it is not up.
func (r *run) companion(name string) int {
	st, err := r.status()
	if err != nil {
		r.fault("no status: %v", err)
		return 0
	}
	for _, c := range st.Companions {
		if c.Name == name && c.Instance == 1 {
			return c.PID
		}
	}
	return 0
}

// floodedFiles checks that the log takes no more room than it may.
func (r *run) floodedFiles(log string) {
	files, err := filepath.Glob(log + "*")
	if err != nil {
		r.t.Fatal(err)
	}
	if len(files) > floodBackups+1 {
		r.fault("%d files, want %d at most: %v", len(files), floodBackups+1, files)
	}
	for _, f := range files {
		// ErrNotExist: it was renamed meanwhile.
		if info, err := os.Stat(f); err == nil && info.Size() > floodSize {
			r.fault("%s has %d bytes, want %d at most", f, info.Size(), floodSize)
		}
	}
}

// floodedLines reads what was kept, the oldest first: whole lines without a gap,
// up to the last that was written. It returns how many there are.
func (r *run) floodedLines(log string, written int) (kept int) {
	first, end, gaps := r.numberedLines(log)
	if gaps > 0 {
		r.fault("%d lines are missing between number %d and %d", gaps, first, end)
	}
	if end != written {
		r.fault("the last line of the log is number %d, %d were written", end-1, written)
	}
	return end - first
}

// numberedLines reads what was kept of spew, the oldest first, and returns the
// number of the first line, the one after the last, and how many are missing
// between them.
func (r *run) numberedLines(log string) (first, end, gaps int) {
	first = -1
	for i := floodBackups; i >= 0; i-- {
		name := log
		if i > 0 {
			name += "." + strconv.Itoa(i)
		}
		file, err := os.ReadFile(name)
		if os.IsNotExist(err) && i > 0 {
			continue
		}
		if err != nil {
			r.t.Fatal(err)
		}
		for in := bytes.NewBuffer(file); in.Len() > 0; {
			line, _ := in.ReadBytes('\n') // io.EOF: the length says it
			if len(line) != lineWidth || line[lineWidth-1] != '\n' {
				r.fault("%s: a line of %d bytes, want %d: %.60q", name, len(line), lineWidth, line)
				return first, end, gaps
			}
			n, err := strconv.Atoi(string(line[:11]))
			if err != nil || first >= 0 && n < end {
				r.fault("%s: line %.60q follows number %d", name, line, end-1)
				return first, end, gaps
			}
			if first < 0 {
				first, end = n, n
			}
			end, gaps = n+1, gaps+n-end
		}
	}
	return first, end, gaps
}
