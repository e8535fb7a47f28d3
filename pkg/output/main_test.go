package output

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// printBytes makes the test binary a child that prints that many bytes of
// 100-byte lines and ends.
const printBytes = "OUTPUT_TEST_PRINT_BYTES"

func TestMain(m *testing.M) {
	if v := os.Getenv(printBytes); v != "" {
		total, err := strconv.Atoi(v)
		if err != nil {
			panic(err)
		}
		spew(total)
		return
	}
	goleak.VerifyTestMain(m)
}

func spew(total int) {
	b := bytes.Repeat(append(bytes.Repeat([]byte{'x'}, 99), '\n'), 655)
	for total > 0 {
		n, err := syscall.Write(1, b[:min(len(b), total)])
		if err != nil {
			panic(err)
		}
		total -= n
	}
}

// startPrinter starts such a child with w as its standard output.
func startPrinter(t testing.TB, total, w int) (pid int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pid, err = syscall.ForkExec(exe, []string{exe}, &syscall.ProcAttr{
		Env:   []string{printBytes + "=" + strconv.Itoa(total)},
		Files: []uintptr{0, uintptr(w), 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// stream is a pipe whose write end the test holds.
type stream struct {
	t testing.TB
	w int
}

func newStream(t testing.TB) (*stream, int) {
	t.Helper()
	r, w, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{t, w}
	t.Cleanup(s.end)
	return s, r
}

func (s *stream) print(text string) {
	s.t.Helper()
	for p := []byte(text); len(p) > 0; {
		n, err := unix.Write(s.w, p)
		if err != nil {
			s.t.Fatalf("write: %v", err)
		}
		p = p[n:]
	}
}

// end closes the last write end: the reader sees the end of the stream.
func (s *stream) end() {
	if s.w >= 0 {
		unix.Close(s.w)
		s.w = -1
	}
}

func numbered(from, to int) (lines []string) {
	for i := from; i < to; i++ {
		lines = append(lines, fmt.Sprintf("line %d", i))
	}
	return lines
}
