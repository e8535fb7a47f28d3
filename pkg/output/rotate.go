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

// shift renames the backups up to the first free number, oldest first, so that
// a crash in between leaves a gap and never two files of one number.
func (f *File) shift() error {
	if f.Backups <= 0 {
		if err := f.file.Truncate(0); err != nil {
			return fmt.Errorf("cannot empty output file %s: %w", f.Path, unwrapPath(err))
		}
		f.size, f.torn = 0, false
		return nil
	}
	free := 1
	for free <= f.Backups && f.exists(free) {
		free++
	}
	if free > f.Backups {
		// The oldest goes, and what a larger number of backups has left behind.
		for i := f.Backups; f.exists(i); i++ {
			if err := f.remove(i); err != nil {
				return rotateError(f.Path, err)
			}
		}
		free = f.Backups
	}
	for i := free - 1; i > 0; i-- {
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

// exists says whether there is an i-th backup, compressed or not.
func (f *File) exists(i int) bool {
	_, plain := os.Lstat(f.backup(i))
	_, packed := os.Lstat(f.backup(i) + gzipSuffix)
	return plain == nil || packed == nil
}

func (f *File) remove(i int) error {
	for _, suffix := range []string{"", gzipSuffix} {
		if err := os.Remove(f.backup(i) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// rotateError names the backup that stands in the way.
func rotateError(path string, err error) error {
	return fmt.Errorf("cannot rotate output file %s: %w", path, err)
}
