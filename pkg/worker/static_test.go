package worker

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func staticSite(t *testing.T) http.Handler {
	t.Helper()
	outside, dir := t.TempDir(), t.TempDir()
	for name, content := range map[string]string{
		dir + "/index.html":         "home",
		dir + "/app.js":             "plain",
		dir + "/app.js.br":          "brotli",
		dir + "/app.js.gz":          "gzipped",
		dir + "/data":               "0123456789",
		dir + "/data.gz":            "zzz",
		dir + "/.env":               "secret",
		dir + "/.git/config":        "secret",
		dir + "/sub/index.html":     "sub",
		dir + "/empty/.keep":        "",
		dir + "/a b/ü.txt":          "umlaut",
		outside + "/secret":         "secret",
		dir + "/dirindex/x":         "",
		dir + "/dirindex/index.htm": "",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside+"/secret", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("data", dir+"/inside"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(dir+"/fifo", 0o644); err != nil {
		t.Fatal(err)
	}
	h := load(t, Static, map[string]any{"root": dir})
	t.Cleanup(func() { h.(*static).root.Close() })
	return h
}

func TestStatic(t *testing.T) {
	h := staticSite(t)
	for _, c := range []struct {
		path, header, value string
		code                int
		body                string // "" = any
		check               string // a header and its value, "K: v"
	}{
		{"/", "", "", 200, "home", "Content-Type: text/html; charset=utf-8"},
		{"/index.html", "", "", 200, "home", ""},
		{"/sub/", "", "", 200, "sub", ""},
		{"/sub", "", "", 301, "", "Location: ./sub/"},
		{"/sub?a=b", "", "", 301, "", "Location: ./sub/?a=b"},
		{"/empty/", "", "", 404, "", ""},
		{"/dirindex/", "", "", 404, "", ""},
		{"/none", "", "", 404, "", ""},
		{"/data/", "", "", 404, "", ""},
		{"/app.js", "", "", 200, "plain", "Vary: Accept-Encoding"},
		{"/app.js", "Accept-Encoding", "gzip", 200, "gzipped", "Content-Encoding: gzip"},
		{"/app.js", "Accept-Encoding", "gzip, br", 200, "brotli", "Content-Encoding: br"},
		{"/app.js", "Accept-Encoding", "gzip, br;q=0", 200, "gzipped", "Content-Type: text/javascript; charset=utf-8"},
		{"/app.js", "Accept-Encoding", "*", 200, "brotli", ""},
		{"/app.js", "Accept-Encoding", "*;q=0", 200, "plain", "Content-Encoding: "},
		{"/app.js", "Accept-Encoding", "br; q=0.0, *", 200, "gzipped", ""},
		{"/data", "Accept-Encoding", "gzip", 200, "zzz", "Content-Type: application/octet-stream"},
		{"/data", "Range", "bytes=2-4", 206, "234", "Content-Range: bytes 2-4/10"},
		{"/data", "Range", "bytes=99-", 416, "", ""},
		{"/inside", "", "", 200, "0123456789", ""},
		{"/a%20b/%C3%BC.txt", "", "", 200, "umlaut", ""},
		{"/link", "", "", 404, "", ""},
		{"/fifo", "", "", 404, "", ""},
		{"/.env", "", "", 404, "", ""},
		{"/.git/config", "", "", 404, "", ""},
		{"/%2eenv", "", "", 404, "", ""},
		{"/sub/../.env", "", "", 404, "", ""},
		{"/../secret", "", "", 404, "", ""},
		{"/%2e%2e/secret", "", "", 404, "", ""},
		{"/..%5csecret", "", "", 404, "", ""},
		{"/%00", "", "", 404, "", ""},
	} {
		r := httptest.NewRequest("GET", c.path, nil)
		if c.header != "" {
			r.Header.Set(c.header, c.value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.code || c.body != "" && w.Body.String() != c.body || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s %s %s: %d %q, want %d %q", c.path, c.header, c.value, w.Code, w.Body, c.code, c.body)
		}
		if k, v, ok := strings.Cut(c.check, ": "); ok && w.Header().Get(k) != v {
			t.Errorf("%s %s: %s is %q, want %q", c.path, c.value, k, w.Header().Get(k), v)
		}
	}
}

func TestStaticConditionalRequests(t *testing.T) {
	h := staticSite(t)
	ask := func(method, k, v string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/app.js", nil)
		r.Header.Set(k, v)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	first := ask("GET", "Accept", "*/*")
	tag, modified := first.Header().Get("Etag"), first.Header().Get("Last-Modified")
	if tag == "" || modified == "" {
		t.Fatal(first.Header())
	}
	if w := ask("GET", "If-None-Match", tag); w.Code != 304 {
		t.Error(w.Code)
	}
	if w := ask("GET", "If-Modified-Since", modified); w.Code != 304 {
		t.Error(w.Code)
	}
	if other := ask("GET", "Accept-Encoding", "gzip").Header().Get("Etag"); other == tag {
		t.Error("two representations, one tag")
	}
	if w := ask("HEAD", "Accept", "*/*"); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != "5" {
		t.Error(w.Code, w.Body, w.Header())
	}
	if w := ask("POST", "Accept", "*/*"); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Error(w.Code, w.Header())
	}
}

func TestStaticWithoutItsDirectoryDoesNotLoad(t *testing.T) {
	_, err := Static(Context{Options: map[string]any{"root": "/nonexistent/dir"}})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/dir") {
		t.Fatal(err)
	}
}
