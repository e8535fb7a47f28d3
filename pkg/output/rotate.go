package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// backup returns the name of the i-th backup, 1 being the youngest.
func (f *File) backup(i int) string { return f.Path + "." + strconv.Itoa(i) }

// rotate makes the current file the youngest backup and begins a new one. It
// returns false when that is not possible now; the current file then stays in
// use, and the next try is not made before checkInterval has passed.
func (f *File) rotate(now time.Time) bool {
	if now.Before(f.retry) {
		return false
	}
	// Somebody else may have moved the file just now; renaming what is under the
	// name without a look would count their file as ours.
	if info, err := os.Lstat(f.Path); err != nil || !os.SameFile(info, f.info) {
		if f.kept(f.open()) {
			return true
		}
	} else if f.kept(f.shift()) {
		if f.Gzip && f.Backups > 1 && !f.compressing {
			f.compressing = true
			f.compressor.Go(f.compressBackups)
		}
		return true
	}
	f.retry = now.Add(checkInterval)
	return false
}

// shift renames every backup to the next number, oldest first, so that a crash
// in between leaves a gap and never two files of one number.
func (f *File) shift() error {
	if f.Backups <= 0 {
		if err := f.file.Truncate(0); err != nil {
			return fmt.Errorf("cannot empty output file %s: %w", f.Path, unwrapPath(err))
		}
		f.size, f.torn = 0, false
		return nil
	}
	// The oldest goes, and what a larger number of backups has left behind.
	for i := f.Backups; ; i++ {
		plain, packed := os.Remove(f.backup(i)), os.Remove(f.backup(i)+gzipSuffix)
		if i > f.Backups && plain != nil && packed != nil {
			break
		}
	}
	for i := f.Backups - 1; i > 0; i-- {
		for _, suffix := range []string{"", gzipSuffix} {
			err := os.Rename(f.backup(i)+suffix, f.backup(i+1)+suffix)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return rotateError(f.Path, err)
			}
		}
	}
	if err := os.Rename(f.Path, f.backup(1)); err != nil {
		return rotateError(f.Path, err)
	}
	// If this fails the old file stays in use as NAME.1, and check finds that
	// the name is free again and tries to open it.
	return f.open()
}

func rotateError(path string, err error) error {
	var link *os.LinkError
	if errors.As(err, &link) {
		err = link.Err
	}
	return fmt.Errorf("cannot rotate output file %s: %w", path, err)
}
