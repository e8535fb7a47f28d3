package arbiter

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestTokenFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link") // as Kubernetes mounts a secret
	if err := os.Symlink(write("..data", "linked\n", 0o440), link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, token, refusal, warning string
	}{
		{write("private", "  secret\n", 0o600), "secret", "", ""},
		{write("read-only", "secret", 0o400), "secret", "", ""},
		{write("group", "secret", 0o640), "secret", "", "read by other users"},
		{write("all", "secret", 0o644), "secret", "", "read by other users"},
		{link, "linked", "", "read by other users"},
		{write("group-writes", "secret", 0o660), "", "lets other users write", "takes no actions"},
		{write("all-write", "secret", 0o602), "", "lets other users write", "takes no actions"},
		{write("empty", " \n", 0o600), "", "is empty", "takes no actions"},
		{write("large", strings.Repeat("x", maxToken+1), 0o600), "", "at most 4096 bytes", "takes no actions"},
		{pipe, "", "regular file", "takes no actions"},
		{dir, "", "regular file", "takes no actions"},
		{filepath.Join(dir, "missing"), "", "no such file", "takes no actions"},
	} {
		token, _, err := tokenFile(c.path)
		if token != c.token || (err == nil) != (c.refusal == "") || err != nil && !strings.Contains(err.Error(), c.refusal) {
			t.Errorf("%s: %q, %v; want %q, %q", c.path, token, err, c.token, c.refusal)
		}
		var log strings.Builder
		l := newLoop(Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		l.setToken(c.path)
		if !strings.Contains(log.String(), c.warning) || (c.warning == "") != (log.Len() == 0) {
			t.Errorf("%s: log %q, want %q", c.path, &log, c.warning)
		}
		if strings.Contains(log.String()+errText(err), "secret") {
			t.Errorf("%s: the token is shown", c.path)
		}
		if got, err := l.admin.readToken(); got != c.token || (err == nil) != (c.refusal == "") {
			t.Errorf("%s: %q, %v", c.path, got, err)
		}
	}
	if _, err := new(admin).readToken(); err == nil {
		t.Error("a token without a file")
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestPortOf(t *testing.T) {
	for bind, want := range map[string]string{":9090": "9090", "127.0.0.1:80": "80", "[::1]:81": "81", "": ""} {
		if got := portOf(bind); got != want {
			t.Errorf("%q: %q, want %q", bind, got, want)
		}
	}
}
