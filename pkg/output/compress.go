package output

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

const gzipSuffix = ".gz"

// compressBackups compresses what is plain from NAME.2 on, youngest first. It
// runs beside the writer, so that a child never waits for it, and rotations may
// move its files while it reads them.
func (f *File) compressBackups() {
	for {
		src := f.nextPlain()
		if src == nil {
			return
		}
		err := f.compress(src)
		src.Close()
		if !f.compressed(err) {
			return
		}
	}
}

// compressed takes the outcome of one compression. After an error the
// compressor has ended, until the next rotation.
func (f *File) compressed(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.compressing = err == nil
	closed := errors.Is(err, fs.ErrClosed)
	if err != nil && !closed && !f.compressFails && f.Trouble != nil {
		f.Trouble(fmt.Errorf("cannot compress a backup of output file %s: %w", f.Path, unwrapPath(err)))
	}
	f.compressFails = err != nil && !closed
	return err == nil
}

// nextPlain opens a backup to compress. Without one the compressor has ended,
// decided under the lock so that a rotation at that moment starts the next.
func (f *File) nextPlain() *os.File {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 2; i <= f.Backups && f.file != nil; i++ {
		if file, err := os.OpenFile(f.backup(i), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0); err == nil {
			return file
		}
	}
	f.compressing = false
	return nil
}

// compress writes src to a temporary file and puts that in the place that src
// has by then. fs.ErrClosed says that Close has ended it.
func (f *File) compress(src *os.File) error {
	info, err := src.Stat()
	if err != nil {
		return err
	}
	temporary := f.Path + gzipSuffix + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dst, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	packer := gzip.NewWriter(dst)
	_, err = io.Copy(packer, &stoppable{src, f.stop})
	err = errors.Join(err, packer.Close(), dst.Close())
	if err == nil {
		err = f.replace(info, temporary)
	}
	if err != nil {
		os.Remove(temporary)
	}
	return err
}

// replace puts the compressed file in the place of the backup that it was made
// of. The backup is still open, so no other file can have its inode number.
func (f *File) replace(was fs.FileInfo, temporary string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 2; i <= f.Backups; i++ {
		if info, err := os.Lstat(f.backup(i)); err == nil && os.SameFile(info, was) {
			return errors.Join(os.Rename(temporary, f.backup(i)+gzipSuffix), os.Remove(f.backup(i)))
		}
	}
	return os.Remove(temporary) // it has aged out meanwhile
}

// stoppable reads until Close.
type stoppable struct {
	io.Reader
	stop <-chan struct{}
}

func (s *stoppable) Read(p []byte) (int, error) {
	select {
	case <-s.stop:
		return 0, fs.ErrClosed
	default:
		return s.Reader.Read(p)
	}
}
