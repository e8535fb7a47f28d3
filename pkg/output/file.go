package output

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// checkInterval is how often a File may look whether its name still leads to
// it. It looks when it writes, so a silent child costs nothing.
const checkInterval = time.Second

// FileConfig says where captured output is kept.
type FileConfig struct {
	Path    string
	Perm    fs.FileMode // of new files; 0 means 0644
	MaxSize int64       // bytes; a file grows beyond it by nothing but a single line that is longer; 0 = no rotation
	Backups int         // how many old files are kept; 0 = none, the file is emptied instead
	Gzip    bool        // compress backups from NAME.2 on; NAME.1 stays readable as it is

	// Trouble, if there is one, is told once when writing, rotating or reopening
	// begins to fail, and Recovered when all of it works again, with the lines
	// that were dropped in between. A backup that cannot be compressed is trouble
	// without recovery: it stays as it is. Both are called while the file is
	// locked and must neither block nor call it.
	Trouble   func(error)
	Recovered func(dropped int64)
}

// File is an append-only log file that rotates by size between two lines. Its
// methods may be called from any goroutine.
//
// It never fails its writer: when the disk refuses lines they are dropped and
// counted, and the next write tries again.
type File struct {
	FileConfig

	mu      sync.Mutex
	file    *os.File    // nil after Close
	info    fs.FileInfo // which file it is
	size    int64
	torn    bool      // the file ends inside a line that a failed write left
	checked time.Time // when the name was last looked at
	retry   time.Time // no rotation before that: the last one failed

	writeFails bool  // the last write failed
	keepFails  bool  // the last rotation or reopening failed
	told       bool  // Trouble knows
	lost       int64 // lines dropped since then
	dropped    int64 // lines dropped, all in all

	compressing   bool
	compressFails bool // the last compression failed, and Trouble knows
	compressor    sync.WaitGroup
	stop          chan struct{} // closed by Close, ends the compressor
}

// OpenFile opens the file, creating it when it does not exist. What cannot be
// renamed in turn is refused: symbolic links and anything but a regular file.
func OpenFile(c FileConfig) (*File, error) {
	if c.Perm == 0 {
		c.Perm = 0o644
	}
	f := &File{FileConfig: c, stop: make(chan struct{})}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// open opens the file under its name and, if that worked, leaves the one before.
func (f *File) open() error {
	// O_NONBLOCK: a FIFO of that name must not hang the caller; files ignore it.
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	file, err := os.OpenFile(f.Path, flags, f.Perm)
	if errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("cannot rotate output file %s: a symbolic link", f.Path)
	}
	if err != nil {
		return fmt.Errorf("cannot open output file %s: %w", f.Path, unwrapPath(err))
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		file.Close()
		return fmt.Errorf("cannot rotate output file %s: %w", f.Path, err)
	}
	if f.file != nil {
		f.file.Close() // nothing is buffered, so there is nothing left to fail
	}
	f.file, f.info, f.size, f.torn = file, info, info.Size(), false
	f.checked = time.Now()
	return nil
}

// unwrapPath drops the path that our own message names already.
func unwrapPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// WriteLines appends p, which is whole lines, each with its newline, rotating
// before a line that no longer fits.
func (f *File) WriteLines(p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		f.drop(p)
		return
	}
	now := time.Now()
	if now.Sub(f.checked) >= checkInterval {
		f.check(now)
	}
	for len(p) > 0 {
		n := f.fitting(p)
		if n == 0 {
			if f.rotate(now) {
				continue
			}
			n = len(p) // better a large file than a lost line
		}
		f.append(p[:n])
		p = p[n:]
	}
}

// fitting returns how many bytes of whole lines may go into the current file;
// 0 asks for a rotation.
func (f *File) fitting(p []byte) int {
	room := f.MaxSize - f.size
	if f.MaxSize <= 0 || int64(len(p)) <= room {
		return len(p)
	}
	if room > 0 {
		if n := bytes.LastIndexByte(p[:room], '\n') + 1; n > 0 {
			return n
		}
	}
	if f.size > 0 {
		return 0
	}
	return bytes.IndexByte(p, '\n') + 1 // longer than a whole file
}

// append writes whole lines or drops them.
func (f *File) append(p []byte) {
	n, err := 0, f.mend()
	if err == nil {
		n, err = f.file.Write(p)
		f.size += int64(n)
	}
	if err == nil {
		f.writeFails = false
		f.report(nil)
		return
	}
	whole := bytes.LastIndexByte(p[:n], '\n') + 1
	if whole < n {
		f.cutBack(int64(n - whole))
	}
	f.drop(p[whole:])
	f.writeFails = true
	f.report(fmt.Errorf("cannot write output file %s, lines are dropped: %w", f.Path, unwrapPath(err)))
}

// cutBack removes the beginning of a line that did not fit on the disk, unless
// somebody else has written behind it.
func (f *File) cutBack(n int64) {
	if info, err := f.file.Stat(); err == nil && info.Size() == f.size && f.file.Truncate(f.size-n) == nil {
		f.size -= n
		return
	}
	f.torn = true
}

// mend ends a line that could not be cut back.
func (f *File) mend() error {
	if !f.torn {
		return nil
	}
	n, err := f.file.Write([]byte{'\n'})
	f.size += int64(n)
	f.torn = err != nil
	return err
}

func (f *File) drop(p []byte) {
	n := int64(bytes.Count(p, []byte{'\n'}))
	f.lost += n
	f.dropped += n
}

// check follows the name when somebody moved or removed the file, and the size
// when somebody emptied it.
func (f *File) check(now time.Time) {
	f.checked = now
	switch info, err := os.Lstat(f.Path); {
	case errors.Is(err, fs.ErrNotExist), err == nil && !os.SameFile(info, f.info):
		f.kept(f.open())
	case err == nil:
		f.size = info.Size()
	}
}

// kept takes the outcome of a rotation or reopening.
func (f *File) kept(err error) bool {
	f.keepFails = err != nil
	f.report(err)
	return err == nil
}

// report tells of the first error, and of the end of all of them.
func (f *File) report(err error) {
	switch {
	case err != nil && !f.told:
		f.told = true
		if f.Trouble != nil {
			f.Trouble(err)
		}
	case err == nil && f.told && !f.writeFails && !f.keepFails:
		lost := f.lost
		f.told, f.lost = false, 0
		if f.Recovered != nil {
			f.Recovered(lost)
		}
	}
}

// Dropped returns how many lines the file did not take since it was opened.
func (f *File) Dropped() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dropped
}

// Reopen opens the file again under its name, as after a rotation by somebody
// else (USR1). On an error the old file stays in use.
func (f *File) Reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return fmt.Errorf("cannot reopen output file %s: %w", f.Path, fs.ErrClosed)
	}
	return f.open()
}

// Close closes the file and ends a compression in progress, which the next
// rotation makes up for. Lines written afterwards are dropped.
func (f *File) Close() error {
	f.mu.Lock()
	file := f.file
	f.file = nil
	if file != nil {
		close(f.stop)
	}
	f.mu.Unlock()
	f.compressor.Wait()
	if file == nil {
		return nil
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("cannot close output file %s: %w", f.Path, unwrapPath(err))
	}
	return nil
}

// File captures a stream into a file. It takes over the read end fd, also when
// it fails, and f, which it closes with the capture; a file takes one stream.
func (s *Captures) File(fd int, f *File) (*Capture, error) {
	c, err := s.start(fd, fileSink{f})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return c, nil
}

type fileSink struct{ *File }

func (s fileSink) whole(lines []byte) { s.WriteLines(lines) }
func (s fileSink) cut(line []byte)    { s.WriteLines(line) }
func (s fileSink) idle()              {}
func (s fileSink) reopen() error      { return s.Reopen() }
func (s fileSink) close() error       { return s.Close() }
