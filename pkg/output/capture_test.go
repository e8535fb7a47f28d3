package output

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lineLog is a Records that remembers, and lets tests wait for a line.
type lineLog struct {
	lines chan string
	split []bool
}

func newLineLog() *lineLog { return &lineLog{lines: make(chan string, 1000)} }

func (l *lineLog) records() Records {
	return Records{Line: func(line []byte, split bool) {
		l.split = append(l.split, split)
		l.lines <- string(line)
	}}
}

func (l *lineLog) take(n int) (lines []string) {
	for range n {
		lines = append(lines, <-l.lines)
	}
	return lines
}

func TestLinesBecomeRecordsOverRestartsOfTheChild(t *testing.T) {
	var captures Captures
	s, r := newStream(t)
	log := newLineLog()
	c, err := captures.Records(r, log.records())
	if err != nil {
		t.Fatal(err)
	}
	// Each child has its own duplicate of the write end, and dies mid-line.
	for _, text := range []string{"first\nhal", "second\n{\"a\": 1}\nxy"} {
		w, err := unix.Dup(s.w)
		if err != nil {
			t.Fatal(err)
		}
		(&stream{t, w}).print(text)
		unix.Close(w)
		c.Settle()
	}
	want := []string{"first", "hal", "second", `{"a": 1}`, "xy"}
	if got := log.take(5); !slices.Equal(got, want) {
		t.Errorf("records %q, want %q", got, want)
	}
	if got := c.Tail(3); !slices.Equal(got, want[2:]) {
		t.Errorf("tail %q, want %q", got, want[2:])
	}
	select {
	case <-c.Done():
		t.Error("the stream ended between two children")
	default:
	}
	if err := c.Close(time.Second); err != nil {
		t.Error(err)
	}
}

func TestOverlongLineArrivesInMarkedPieces(t *testing.T) {
	var captures Captures
	s, r := newStream(t)
	log := newLineLog()
	c, err := captures.Records(r, log.records())
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 3*MaxLine/2)
	s.print(long + "\nshort\n")
	s.end()
	<-c.Done()
	got := log.take(3)
	if strings.TrimSuffix(got[0], SplitMark)+got[1] != long || got[2] != "short" {
		t.Errorf("lines of %d, %d, %d bytes", len(got[0]), len(got[1]), len(got[2]))
	}
	if len(got[0]) > MaxLine || !slices.Equal(log.split, []bool{true, false, false}) {
		t.Errorf("first piece of %d bytes, split %v", len(got[0]), log.split)
	}
	if err := c.Close(0); err != nil {
		t.Error(err)
	}
}

func TestCloseTakesWhatIsInThePipe(t *testing.T) {
	var captures Captures
	s, r := newStream(t)
	f := openFile(t, FileConfig{})
	s.print(strings.Join(numbered(0, 1000), "\n")) // before anybody reads, and without a last newline
	c, err := captures.File(r, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(time.Minute); err != nil { // the write end is still open
		t.Fatal(err)
	}
	if got, want := content(t, f.Path), strings.Join(numbered(0, 1000), "\n")+"\n"; got != want {
		t.Errorf("file holds %d bytes, want %d", len(got), len(want))
	}
	if err := c.Close(0); err != nil {
		t.Errorf("second Close: %v", err)
	}
	c.Settle() // harmless afterwards
	if _, err := c.read(-1, 1); !errors.Is(err, io.EOF) {
		t.Errorf("read after Close: %v", err)
	}
	if got := c.Tail(1); !slices.Equal(got, []string{"line 999"}) {
		t.Errorf("tail after Close: %q", got)
	}
}

func TestCloseEndsAlthoughAWriterGoesOn(t *testing.T) {
	var captures Captures
	s, r := newStream(t)
	keep, err := unix.Dup(r) // as the arbiter does: the writer gets no SIGPIPE
	if err != nil {
		t.Fatal(err)
	}
	c, err := captures.Records(r, Records{Line: func([]byte, bool) {}})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(s.w, true); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		line := []byte(strings.Repeat("y\n", 1000))
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = unix.Write(s.w, line)
			}
		}
	}()
	if err := c.Close(20 * time.Millisecond); err != nil {
		t.Error(err)
	}
	close(stop)
	<-stopped
	unix.Close(keep)
}

func TestSettleWhileReadingAndClosing(t *testing.T) {
	var captures Captures
	for range 20 {
		s, r := newStream(t)
		f := openFile(t, FileConfig{})
		c, err := captures.File(r, f)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 50 {
					c.Settle()
					c.Tail(5)
				}
			})
		}
		wg.Go(func() { s.print(strings.Repeat("line\n", 5000)) })
		wg.Go(func() { _ = c.Reopen() })
		wg.Wait()
		if err := c.Close(time.Minute); err != nil {
			t.Error(err)
		}
		// Settle may end a line early, but no byte is lost, doubled or out of order.
		if got := strings.ReplaceAll(content(t, f.Path), "\n", ""); got != strings.Repeat("line", 5000) {
			t.Errorf("file holds %d bytes besides newlines", len(got))
		}
		s.end()
	}
}

func TestPrefixedLinesAreWrittenWhole(t *testing.T) {
	var captures Captures
	s, r := newStream(t)
	var out bytes.Buffer
	c, err := captures.Prefixed(r, &out, "app | ")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("z", MaxLine)
	s.print("one\n\n" + long + "\n" + long + "\nlast")
	s.end()
	<-c.Done()
	if want := "app | one\napp | \napp | " + long + "\napp | " + long + "\napp | last\n"; out.String() != want {
		t.Errorf("wrote %d bytes, want %d", out.Len(), len(want))
	}
	if err := c.Close(0); err != nil {
		t.Error(err)
	}
}

func TestIdleIsCalledWhenTheChildPauses(t *testing.T) {
	var captures Captures
	s, r := newStream(t)
	idle := make(chan int, 100)
	lines := 0
	c, err := captures.Records(r, Records{
		Line: func([]byte, bool) { lines++ },
		Idle: func() { idle <- lines },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.print("a\nb\n")
	for <-idle < 2 { // before the write it was idle as well
	}
	if err := c.Close(time.Second); err != nil {
		t.Error(err)
	}
}

func TestCaptureRotatesWhileAChildPrints(t *testing.T) {
	var captures Captures
	r, w, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	f := openFile(t, FileConfig{MaxSize: 1 << 20, Backups: 100})
	c, err := captures.File(r, f)
	if err != nil {
		t.Fatal(err)
	}
	const total = 20_000_000
	pid := startPrinter(t, total, w)
	syscall.Close(w)
	<-c.Done()
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.ExitStatus() != 0 {
		t.Fatal(err, status)
	}
	if err := c.Close(0); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, name := range names(t, filepath.Dir(f.Path)) {
		b := content(t, filepath.Join(filepath.Dir(f.Path), name))
		if len(b) > 1<<20 || len(b)%100 != 0 || !strings.HasSuffix(b, "\n") {
			t.Errorf("%s has %d bytes", name, len(b))
		}
		sum += len(b)
	}
	if sum != total {
		t.Errorf("files hold %d bytes, want %d", sum, total)
	}
	if n := len(c.Tail(HistoryLines)); n != HistoryLines {
		t.Errorf("tail has %d lines", n)
	}
}

// A thousand silent children are a thousand goroutines and nothing else.
func TestThousandCapturesTakeNoThreads(t *testing.T) {
	var captures Captures
	const n = 1000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*n+100 {
		t.Skipf("%d descriptors: %v", limit.Cur, err)
	}
	before := threads(t)
	var all []*Capture
	for range n {
		s, r := newStream(t)
		c, err := captures.Records(r, Records{Line: func([]byte, bool) {}})
		if err != nil {
			t.Fatal(err)
		}
		s.print("hello\n")
		all = append(all, c)
	}
	for _, c := range all {
		c.Settle()
		if len(c.Tail(1)) != 1 {
			t.Fatal("a line is missing")
		}
	}
	if now := threads(t); now > before+20 {
		t.Errorf("%d threads, %d before", now, before)
	}
	for _, c := range all {
		if err := c.Close(0); err != nil {
			t.Fatal(err)
		}
	}
}

func threads(t *testing.T) int {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip(err)
	}
	return len(tasks)
}

func TestPipeEndsAreWhatChildrenAndReadersExpect(t *testing.T) {
	r, w, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(r)
	defer unix.Close(w)
	for fd, want := range map[int]int{r: unix.O_NONBLOCK, w: 0} {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK != want {
			t.Errorf("descriptor %d: flags %o, %v", fd, flags, err)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d is not closed on exec (%v)", fd, err)
		}
	}
	if runtime.GOOS == "linux" && os.Getuid() == 0 {
		if n, err := unix.Write(w, make([]byte, pipeSize)); n != pipeSize {
			t.Errorf("the pipe holds %d bytes (%v)", n, err)
		}
	}
}

func TestPlainFilesAppendAndBlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	for _, text := range []string{"a\n", "b\n"} {
		fd, err := OpenAppend(path, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		(&stream{t, fd}).print(text)
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
			t.Errorf("flags %o, %v", flags, err)
		}
		unix.Close(fd)
	}
	if got := content(t, path); got != "a\nb\n" {
		t.Errorf("got %q", got)
	}
	fifo := path + ".fifo"
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if fd, err := OpenAppend(fifo, 0); err == nil {
		unix.Close(fd)
		t.Error("a FIFO without a reader was opened")
	}
}
