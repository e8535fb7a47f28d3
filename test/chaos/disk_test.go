//go:build linux

package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// keepDiskFull leaves no room on the disk of captured logs, not even what their
// rotation frees.
func (r *run) keepDiskFull(d time.Duration) {
	name := filepath.Join(r.full, "filler")
	file, err := os.Create(name)
	if err != nil {
		r.history.add("full disk: %v", err) // another one fills it
		return
	}
	defer file.Close()
	block := make([]byte, 4<<10)
	written := 0
	for until := time.Now().Add(d); time.Now().Before(until); pause(time.Millisecond) {
		for err = nil; err == nil; {
			var n int
			n, err = file.Write(block)
			written += n
		}
	}
	r.history.add("the disk was full for %s, with %d bytes of a filler: %v", d, written, err)
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) { // release was faster
		r.t.Error(err)
	}
}

// What a companion writes while the disk is full is lost, line by line and
// counted; nobody else notices, and writing goes on as soon as there is room.
func TestAFullDiskCostsLinesOfOutputAlone(t *testing.T) {
	r := newRun(t, seed(t))
	if !r.disk {
		t.Skip("no small disk could be mounted")
	}
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	clients := r.arrive(ctx, 4)
	log := filepath.Join(r.full, "drip.log")
	c := baseConfig()
	// As much in three seconds as all its files may hold.
	c.more = fmt.Sprintf("[companion.drip]\ncommand = [%q, \"spew\", %q, \"200000\"]\nstdout = %q\nlog_max_size = \"300KiB\"\nlog_backups = 1",
		r.bin.child, filepath.Join(r.dir, "drip"), log)
	r.write(c)
	if res, err := r.reload(); err != nil || !res.OK {
		t.Fatalf("cannot start what is to be captured: %+v, %v", res, err)
	}
	pause(200 * time.Millisecond)
	r.keepDiskFull(time.Second)
	pause(500 * time.Millisecond)
	leave()
	clients.wg.Wait()

	if _, err := r.quiet(baseConfig()); err != nil {
		t.Fatal(err)
	}
	first, end, gaps := r.numberedLines(log)
	data, err := os.ReadFile(filepath.Join(r.dir, "drip.wrote"))
	if err != nil {
		t.Fatal(err)
	}
	var lines, millis int
	if _, err := fmt.Sscan(string(data), &lines, &millis); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d lines in %d ms, number %d to %d are kept but %d", lines, millis, first, end-1, gaps)
	if end != lines || gaps == 0 {
		r.fault("%d lines were written, the last in the log is number %d, %d before it are missing", lines, end-1, gaps)
	}
	r.within(5*time.Second, fmt.Sprintf("the log says that %d lines were dropped", gaps), func() bool { return r.history.count("dropped drip") == gaps })
	r.finish()
}
