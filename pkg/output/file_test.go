package output

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func openFile(t testing.TB, c FileConfig) *File {
	t.Helper()
	if c.Path == "" {
		c.Path = filepath.Join(t.TempDir(), "app.log")
	}
	f, err := OpenFile(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func names(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestFileRotatesBetweenLinesAndKeepsItsBackups(t *testing.T) {
	f := openFile(t, FileConfig{MaxSize: 10, Backups: 2})
	for _, p := range []string{"aaaa\nbbbb\n", "cccc\n", "dddd\neeee\nffff\n", "gg\n"} {
		f.WriteLines([]byte(p))
	}
	for path, want := range map[string]string{
		f.Path:        "gg\n",
		f.Path + ".1": "eeee\nffff\n",
		f.Path + ".2": "cccc\ndddd\n",
	} {
		if got := content(t, path); got != want {
			t.Errorf("%s is %q, want %q", filepath.Base(path), got, want)
		}
	}
	if got, want := names(t, filepath.Dir(f.Path)), []string{"app.log", "app.log.1", "app.log.2"}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}

func TestLineLongerThanTheLimitHasAFileOfItsOwn(t *testing.T) {
	f := openFile(t, FileConfig{MaxSize: 4, Backups: 9})
	f.WriteLines([]byte("a\nlong line\nb\n"))
	got := content(t, f.Path+".2") + "|" + content(t, f.Path+".1") + "|" + content(t, f.Path)
	if got != "a\n|long line\n|b\n" {
		t.Errorf("got %q", got)
	}
}

func TestWithoutBackupsTheFileIsEmptied(t *testing.T) {
	f := openFile(t, FileConfig{MaxSize: 4})
	f.WriteLines([]byte("aaa\nbbb\nccc\n"))
	if got := content(t, f.Path); got != "ccc\n" {
		t.Errorf("got %q", got)
	}
	if got := names(t, filepath.Dir(f.Path)); len(got) != 1 {
		t.Errorf("files %v", got)
	}
}

func TestFewerBackupsThanBeforeRemovesTheSurplus(t *testing.T) {
	f := openFile(t, FileConfig{MaxSize: 4, Backups: 5})
	f.WriteLines([]byte(strings.Repeat("aaa\n", 6)))
	f.Close()
	f = openFile(t, FileConfig{Path: f.Path, MaxSize: 4, Backups: 2})
	f.WriteLines([]byte("bbb\n"))
	if got, want := names(t, filepath.Dir(f.Path)), []string{"app.log", "app.log.1", "app.log.2"}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}

func TestSizeCountsWhatWasThereBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := openFile(t, FileConfig{Path: path, MaxSize: 10, Backups: 1})
	f.WriteLines([]byte("after\n"))
	if got := content(t, path+".1") + "|" + content(t, path); got != "before\n|after\n" {
		t.Errorf("got %q", got)
	}
}

func TestNothingIsLostOrDoubledAcrossRotations(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		limit := rapid.Int64Range(1, 300).Draw(rt, "limit")
		f, err := OpenFile(FileConfig{Path: filepath.Join(dir, "log"), MaxSize: limit, Backups: 10_000})
		if err != nil {
			rt.Fatal(err)
		}
		var want strings.Builder
		for i := range rapid.IntRange(1, 20).Draw(rt, "writes") {
			var p strings.Builder
			for j := range rapid.IntRange(1, 6).Draw(rt, "lines") {
				fmt.Fprintf(&p, "%d.%d %s\n", i, j, strings.Repeat("x", rapid.IntRange(0, 100).Draw(rt, "length")))
			}
			f.WriteLines([]byte(p.String()))
			want.WriteString(p.String())
		}
		if err := f.Close(); err != nil {
			rt.Fatal(err)
		}
		got := ""
		for i := range len(names(t, dir)) {
			path := f.Path
			if i > 0 {
				path = f.backup(i)
			}
			b := content(t, path)
			if !strings.HasSuffix(b, "\n") || int64(len(b)) > limit && strings.Count(b, "\n") > 1 {
				rt.Fatalf("backup %d is %q with limit %d", i, b, limit)
			}
			got = b + got
		}
		if got != want.String() {
			rt.Fatalf("files hold %q, want %q", got, want.String())
		}
	})
}

func TestMovedFileIsLeftWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, FileConfig{})
		f.WriteLines([]byte("a\n"))
		if err := os.Rename(f.Path, f.Path+".moved"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkInterval - 1) // virtual
		f.WriteLines([]byte("b\n"))
		time.Sleep(time.Nanosecond)
		f.WriteLines([]byte("c\n"))
		if got := content(t, f.Path+".moved") + "|" + content(t, f.Path); got != "a\nb\n|c\n" {
			t.Errorf("got %q", got)
		}
		if err := os.Remove(f.Path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkInterval)
		f.WriteLines([]byte("d\n"))
		if got := content(t, f.Path); got != "d\n" {
			t.Errorf("after removal: %q", got)
		}
	})
}

func TestReopenFollowsTheNameAtOnce(t *testing.T) {
	f := openFile(t, FileConfig{})
	f.WriteLines([]byte("a\n"))
	if err := os.Rename(f.Path, f.Path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	f.WriteLines([]byte("b\n"))
	if got := content(t, f.Path+".moved") + "|" + content(t, f.Path); got != "a\n|b\n" {
		t.Errorf("got %q", got)
	}
}

func TestRotationDoesNotTouchAStrangersFile(t *testing.T) {
	f := openFile(t, FileConfig{MaxSize: 4, Backups: 3})
	f.WriteLines([]byte("aaa\n"))
	if err := os.Rename(f.Path, f.Path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Path, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.WriteLines([]byte("b\n"))
	if got := content(t, f.Path+".moved") + "|" + content(t, f.Path); got != "aaa\n|x\nb\n" {
		t.Errorf("got %q", got)
	}
}

func TestFileEmptiedBySomebodyElseIsNotRotatedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, FileConfig{MaxSize: 8, Backups: 1})
		f.WriteLines([]byte("aaaaaaa\n"))
		if err := os.Truncate(f.Path, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkInterval) // virtual
		f.WriteLines([]byte("b\n"))
		if got := content(t, f.Path); got != "b\n" {
			t.Errorf("got %q", got)
		}
		if got := names(t, filepath.Dir(f.Path)); len(got) != 1 {
			t.Errorf("files %v", got)
		}
	})
}

// troubles records what a file reports.
type troubles struct {
	errs      []string
	recovered []int64
}

func (r *troubles) config(c FileConfig) FileConfig {
	c.Trouble = func(err error) { r.errs = append(r.errs, err.Error()) }
	c.Recovered = func(n int64) { r.recovered = append(r.recovered, n) }
	return c
}

func TestFullDiskDropsLinesWithOneMessageAndResumes(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	var r troubles
	f := openFile(t, r.config(FileConfig{}))
	good := f.file
	f.file = full
	f.WriteLines([]byte("a\nb\n"))
	f.WriteLines([]byte("c\n"))
	f.file = good
	f.WriteLines([]byte("d\n"))
	f.WriteLines([]byte("e\n"))
	if len(r.errs) != 1 || !strings.Contains(r.errs[0], "no space left on device") {
		t.Errorf("told %q", r.errs)
	}
	if !slices.Equal(r.recovered, []int64{3}) || f.Dropped() != 3 {
		t.Errorf("recovered %v, dropped %d, want 3", r.recovered, f.Dropped())
	}
	if got := content(t, f.Path); got != "d\ne\n" {
		t.Errorf("got %q", got)
	}
}

// A disk that fills up in the middle of a line must not leave half of it.
func TestHalfALineIsTakenBack(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var r troubles
	f := openFile(t, r.config(FileConfig{}))
	fileLimit(t, 10, func() { f.WriteLines([]byte("aaaa\nbbbb\ncc")[:10]) })
	fileLimit(t, 12, func() { f.WriteLines([]byte("cccc\ndddd\n")) })
	fileLimit(t, 16, func() { f.WriteLines([]byte("eeee\nffff\n")) })
	f.WriteLines([]byte("gggg\n"))
	if got := content(t, f.Path); got != "aaaa\nbbbb\neeee\ngggg\n" {
		t.Errorf("got %q", got)
	}
	if f.Dropped() != 3 || len(r.errs) != 1 || !slices.Equal(r.recovered, []int64{3}) {
		t.Errorf("dropped %d, told %q, recovered %v", f.Dropped(), r.errs, r.recovered)
	}
}

// Half a line that could not be taken back is ended, not continued.
func TestTornLineIsEndedBeforeTheNext(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	f := openFile(t, FileConfig{})
	fileLimit(t, 3, func() {
		f.size-- // as if somebody else had written behind it
		f.WriteLines([]byte("aaaa\n"))
		f.WriteLines([]byte("bbbb\n")) // no room for the newline either
	})
	f.WriteLines([]byte("cccc\n"))
	if got := content(t, f.Path); got != "aaa\ncccc\n" || f.Dropped() != 2 {
		t.Errorf("got %q, dropped %d", got, f.Dropped())
	}
}

// fileLimit runs f while no file of this process can grow beyond size.
func fileLimit(t *testing.T, size uint64, f func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

func TestRotationThatFailsLosesNothingAndIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r troubles
		f := openFile(t, r.config(FileConfig{MaxSize: 4, Backups: 1}))
		obstacle := filepath.Join(f.Path+".1", "x") // a directory that is not empty can be neither removed nor replaced
		if err := os.MkdirAll(obstacle, 0o700); err != nil {
			t.Fatal(err)
		}
		f.WriteLines([]byte("aaa\nbbb\n"))
		f.WriteLines([]byte("ccc\n"))
		if len(r.errs) != 1 || !strings.Contains(r.errs[0], "cannot rotate output file") {
			t.Errorf("told %q", r.errs)
		}
		if err := os.RemoveAll(f.Path + ".1"); err != nil {
			t.Fatal(err)
		}
		f.WriteLines([]byte("ddd\n"))
		time.Sleep(checkInterval) // virtual
		f.WriteLines([]byte("eee\n"))
		if got := content(t, f.Path+".1") + "|" + content(t, f.Path); got != "aaa\nbbb\nccc\nddd\n|eee\n" {
			t.Errorf("got %q", got)
		}
		if f.Dropped() != 0 || !slices.Equal(r.recovered, []int64{0}) {
			t.Errorf("dropped %d, recovered %v", f.Dropped(), r.recovered)
		}
	})
}

func TestOldBackupsAreCompressedWhileRotationsGoOn(t *testing.T) {
	var r troubles
	f := openFile(t, r.config(FileConfig{MaxSize: 1 << 10, Backups: 40, Gzip: true}))
	var want bytes.Buffer
	for i := range 30 {
		p := fmt.Appendf(nil, "%d %s\n", i, strings.Repeat("x", 1000))
		f.WriteLines(p)
		want.Write(p)
	}
	f.compressor.Wait()
	var got []byte
	for i := 29; i > 1; i-- {
		got = append(got, unpacked(t, f.backup(i)+gzipSuffix)...)
	}
	got = append(got, content(t, f.backup(1))+content(t, f.Path)...)
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("files do not hold what was written")
	}
	if n := names(t, filepath.Dir(f.Path)); len(n) != 30 {
		t.Errorf("files %v", n)
	}
	if r.errs != nil {
		t.Errorf("told %q", r.errs)
	}
}

func unpacked(t *testing.T, path string) []byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCloseEndsACompression(t *testing.T) {
	f := openFile(t, FileConfig{MaxSize: 1 << 20, Backups: 3, Gzip: true})
	for range 4 {
		f.WriteLines(bytes.Repeat([]byte("some text to compress\n"), 1<<20/22))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range names(t, filepath.Dir(f.Path)) {
		if strings.HasSuffix(name, ".tmp") {
			t.Errorf("%s is left", name)
		}
	}
	f.WriteLines([]byte("late\n"))
	if f.Dropped() != 1 {
		t.Errorf("a line after Close was not counted")
	}
	if err := f.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := f.Reopen(); err == nil {
		t.Error("Reopen after Close worked")
	}
}

func TestOnlyRegularFilesCanBeRotated(t *testing.T) {
	dir := t.TempDir()
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink(filepath.Join(dir, "target"), link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, rule := range map[string]string{
		link:                              "a symbolic link",
		os.DevNull:                        "not a regular file",
		fifo:                              "cannot open output file " + fifo,
		dir:                               "is a directory",
		filepath.Join(dir, "none", "log"): "no such file or directory",
	} {
		if f, err := OpenFile(FileConfig{Path: path, MaxSize: 1}); err == nil {
			f.Close()
			t.Errorf("%s was opened", path)
		} else if !strings.Contains(err.Error(), rule) {
			t.Errorf("%s: %v, want %q", path, err, rule)
		}
	}
}
