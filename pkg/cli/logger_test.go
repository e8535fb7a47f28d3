package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
)

// A named pipe that nobody reads holds up whoever opens it to write, for ever and
// deaf to every signal.
func TestLogFileThatNobodyReadsIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 1)
	go func() {
		_, err := openJournal(config.Log{File: path}, roleArbiter, os.Stderr, nil)
		refused <- err
	}()
	select {
	case err := <-refused:
		if err == nil || !strings.Contains(err.Error(), "nobody reads this FIFO") {
			t.Errorf("%v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it is being opened still")
		r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // lets it go on
		if err != nil {
			t.Fatal(err)
		}
		<-refused
		r.Close()
	}
}

func TestLogFileIsAppendedToAndReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(config.Log{File: path, Format: "json"}, roleArbiter, os.Stderr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.out.file.Close()
	j.Info("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	j.Info("two")
	j.reopen()
	j.Info("three")
	for name, want := range map[string][]string{path + ".1": {"before", `"msg":"one"`, `"msg":"two"`}, path: {`"msg":"three"`}} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Split(strings.TrimSpace(string(text)), "\n"); len(lines) != len(want) {
			t.Errorf("%s:\n%s", name, text)
		} else {
			for n, part := range want {
				if !strings.Contains(lines[n], part) {
					t.Errorf("%s: line %d is %s, want %s", name, n, lines[n], part)
				}
			}
		}
	}
}
