package arbiter

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWatchTellsOfMatchingFilesOnce(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "app", "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	told := make(chan string)
	w, err := watchFiles([]string{filepath.Join(root, "app/**/*.py")}, func(path string, closed <-chan struct{}) {
		select {
		case told <- path:
		case <-closed:
		}
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-told:
			if got != filepath.Join(root, want) {
				t.Fatalf("told of %s, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("not told of %s", want)
		}
	}
	write("app/notes.txt") // does not match: only the next one is told of
	write("app/a.py")
	write("app/deep/b.py")
	expect("app/deep/b.py") // one burst
	if err := os.Mkdir(filepath.Join(root, "app", "new"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The folder is watched a moment after it was made, so the file is written
	// until that is so.
	tick := time.NewTicker(2 * watchDelay)
	defer tick.Stop()
	for {
		write("app/new/c.py")
		select {
		case got := <-told:
			if got != filepath.Join(root, "app/new/c.py") {
				t.Fatalf("told of %s", got)
			}
			return
		case <-tick.C:
		}
	}
}

func TestWatchCanBeClosedWhileNobodyListens(t *testing.T) {
	root := t.TempDir()
	reached := make(chan struct{})
	w, err := watchFiles([]string{filepath.Join(root, "*.py")}, func(_ string, closed <-chan struct{}) {
		close(reached)
		<-closed
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "a.py"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	<-reached
	w.close()
}
