package proc_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/proc"
)

func TestLookPath(t *testing.T) {
	root := t.TempDir()
	for path, mode := range map[string]fs.FileMode{
		"first/tool":   0o644, // found first, but not executable
		"second/tool":  0o755,
		"second/plain": 0o644,
		"work/local":   0o755,
		"work/bin/rel": 0o755,
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	work := filepath.Join(root, "work")
	path := "PATH=" + filepath.Join(root, "first") + ":" + filepath.Join(root, "second") + ":bin:"
	for _, c := range []struct {
		name, file string
		env        []string
		want       string // below root
		err        string
		is         error
	}{
		{name: "executable one wins", file: "tool", env: []string{path}, want: "second/tool"},
		{name: "last PATH counts", file: "tool", env: []string{"PATH=/nowhere", path}, want: "second/tool"},
		{name: "entry relative to the directory", file: "rel", env: []string{path}, want: "work/bin/rel"},
		{name: "empty entry is the directory", file: "local", env: []string{path}, want: "work/local"},
		{name: "slash relative to the directory", file: "./local", want: "work/local"},
		{name: "absolute", file: root + "/second/tool", want: "second/tool"},
		{name: "missing", file: "nix", env: []string{path}, err: `cannot find "nix" in PATH`, is: fs.ErrNotExist},
		{name: "not ours but the child's PATH", file: "sh", env: []string{path}, err: `cannot find "sh" in PATH`, is: fs.ErrNotExist},
		{name: "nowhere executable", file: "plain", env: []string{path}, err: "cannot execute " + root + "/second/plain: permission denied", is: fs.ErrPermission},
		{name: "missing file", file: "./nix", err: "cannot find " + work + "/nix: no such file or directory", is: fs.ErrNotExist},
		{name: "not executable", file: root + "/second/plain", err: "cannot execute " + root + "/second/plain: permission denied", is: fs.ErrPermission},
		{name: "directory", file: work, err: "cannot execute " + work + ": is a directory", is: syscall.EISDIR},
		{name: "empty", file: "", err: "cannot find a program: empty name: file does not exist", is: fs.ErrNotExist},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := proc.LookPath(c.file, work, c.env)
			if c.err != "" {
				if err == nil || err.Error() != c.err || !errors.Is(err, c.is) {
					t.Fatalf("%q, %v; want the error %s", got, err, c.err)
				}
				return
			}
			if want := filepath.Join(root, c.want); err != nil || got != want {
				t.Errorf("%q, %v; want %q", got, err, want)
			}
		})
	}
	if got, err := proc.LookPath("sh", "", nil); err != nil || !filepath.IsAbs(got) {
		t.Errorf("without a PATH: %q, %v", got, err)
	}
}

func TestSignalName(t *testing.T) {
	for sig, want := range map[syscall.Signal]string{
		syscall.SIGTERM: "SIGTERM", syscall.SIGABRT: "SIGABRT", 40: "signal 40", 0: "signal 0",
	} {
		if got := proc.SignalName(sig); got != want {
			t.Errorf("SignalName(%d) = %q, want %q", int(sig), got, want)
		}
	}
}
