package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// defaultPath is searched when the child's environment has no PATH, as execvp(3)
// would, with the places added where containers put programs.
const defaultPath = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

// LookPath finds the program that a child means by file: a name with a slash is
// relative to dir, any other is searched for in the PATH of env, the child's own
// environment, where relative and empty entries are relative to dir too. dir ""
// is the working directory. The result is what [Command].Path wants. Errors wrap
// [fs.ErrNotExist] or [fs.ErrPermission].
func LookPath(file, dir string, env []string) (string, error) {
	if file == "" {
		return "", fmt.Errorf("cannot find a program: empty name: %w", fs.ErrNotExist)
	}
	if strings.Contains(file, "/") {
		path := in(dir, file)
		err := executable(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("cannot find %s: %w", path, reason(err))
		case err != nil:
			return "", fmt.Errorf("cannot execute %s: %w", path, reason(err))
		}
		return path, nil
	}
	// As a shell: one that may not be executed is passed over, and only told of
	// when there is no other.
	var refused error
	for _, entry := range filepath.SplitList(searchPath(env)) {
		path := in(dir, filepath.Join(entry, file))
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if refused == nil && errors.Is(err, fs.ErrPermission) {
			refused = fmt.Errorf("cannot execute %s: %w", path, reason(err))
		}
	}
	if refused != nil {
		return "", refused
	}
	return "", &notFoundError{file}
}

// notFoundError keeps the message short and still is an [fs.ErrNotExist].
type notFoundError struct{ file string }

func (e *notFoundError) Error() string { return fmt.Sprintf("cannot find %q in PATH", e.file) }
func (e *notFoundError) Unwrap() error { return fs.ErrNotExist }

// in makes the path one that means the same after the child's chdir.
func in(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	if abs, err := filepath.Abs(filepath.Join(dir, path)); err == nil {
		return abs
	}
	return filepath.Join(dir, path)
}

// executable looks at the mode bits only: the child may run as another user, and
// whether that one may is for the kernel to say.
func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return &fs.PathError{Op: "execute", Path: path, Err: syscall.EISDIR}
	case info.Mode()&0o111 == 0:
		return &fs.PathError{Op: "execute", Path: path, Err: syscall.EACCES}
	}
	return nil
}

// reason strips the operation and path that the message names already.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// searchPath takes the last PATH, as a program does whose environment has two.
func searchPath(env []string) string {
	path := defaultPath
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			path = p
		}
	}
	return path
}
