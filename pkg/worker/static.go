package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// Static is the factory of the handler "static", which serves the files below
// the directory {root}: ranges, ETag and Last-Modified, index.html for a
// directory, NAME.br and NAME.gz beside a file when the client accepts them. It
// lists no directory, serves nothing with a name that begins with a dot, and
// cannot be led out of the root, by symbolic links neither (os.Root).
func Static(c Context) (http.Handler, error) {
	dir, err := parseStatic(c.Options)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot load handler %q: option %q: %w", "static", "root", err)
	}
	return &static{root: root, log: c.Logger}, nil
}

// static holds the root open as long as the process lives.
type static struct {
	root *os.Root
	log  *slog.Logger
}

func (s *static) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	name, ok := fileName(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	asDir := strings.HasSuffix(r.URL.Path, "/")
	if asDir {
		name = path.Join(name, "index.html")
	}
	f, info, err := s.open(name)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer f.Close()
	switch {
	case info.IsDir() && !asDir:
		redirectToDir(w, r)
	case !info.Mode().IsRegular():
		http.NotFound(w, r)
	default:
		s.serve(w, r, name, f, info)
	}
}

// fileName turns a URL path into a name below the root. Dots at the start of an
// element are refused altogether: hidden files, and "..".
func fileName(p string) (string, bool) {
	if strings.ContainsAny(p, "\x00\\") {
		return "", false
	}
	for e := range strings.SplitSeq(p, "/") {
		if strings.HasPrefix(e, ".") {
			return "", false
		}
	}
	name := strings.TrimPrefix(path.Clean("/"+p), "/")
	if name == "" {
		name = "."
	}
	return name, true
}

func (s *static) open(name string) (*os.File, fs.FileInfo, error) {
	// Without O_NONBLOCK opening a FIFO would wait for its writer.
	f, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func (s *static) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, fs.ErrPermission):
		http.Error(w, http.StatusText(http.StatusForbidden), http.StatusForbidden)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		s.log.Error("cannot open file", "path", r.URL.Path, "error", err)
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
	default:
		http.NotFound(w, r) // absent, outside of the root, an impossible name
	}
}

func redirectToDir(w http.ResponseWriter, r *http.Request) {
	// Relative, so that a prefix that a proxy removed stays.
	to := path.Base(r.URL.EscapedPath()) + "/"
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	// "./" keeps a colon in the name from being a scheme.
	w.Header().Set("Location", "./"+to)
	w.WriteHeader(http.StatusMovedPermanently)
}

func (s *static) serve(w http.ResponseWriter, r *http.Request, name string, f *os.File, info fs.FileInfo) {
	h := w.Header()
	tag := entityTag(info)
	body, bodyInfo := f, info
	ctype := mime.TypeByExtension(path.Ext(name))
	for _, enc := range encodings {
		zf, zinfo, err := s.open(name + enc.suffix)
		if err != nil {
			continue
		}
		defer zf.Close()
		if !zinfo.Mode().IsRegular() {
			continue
		}
		h.Set("Vary", "Accept-Encoding")
		if body == f && accepts(r.Header["Accept-Encoding"], enc.name) {
			body, bodyInfo = zf, zinfo
			h.Set("Content-Encoding", enc.name)
			tag = entityTag(zinfo) + enc.suffix
			if ctype == "" {
				ctype = "application/octet-stream" // never what the compressed bytes look like
			}
		}
	}
	if ctype != "" {
		h.Set("Content-Type", ctype)
	}
	h.Set("Etag", `"`+tag+`"`)
	http.ServeContent(w, r, name, bodyInfo.ModTime(), body)
}

// encodings are the precompressed variants, the better first.
var encodings = [...]struct{ name, suffix string }{{"br", ".br"}, {"gzip", ".gz"}}

func entityTag(info fs.FileInfo) string {
	return strconv.FormatInt(info.ModTime().UnixNano(), 36) + "-" + strconv.FormatInt(info.Size(), 36)
}

// accepts reports whether Accept-Encoding names an encoding (or "*") with a
// quality above 0.
func accepts(lines []string, encoding string) bool {
	star := false
	for _, e := range elements(lines) {
		name, params, _ := strings.Cut(e, ";")
		ok := true
		if q, found := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q="); found {
			v, err := strconv.ParseFloat(q, 64)
			ok = err == nil && v > 0
		}
		switch name = strings.TrimSpace(name); {
		case strings.EqualFold(name, encoding):
			return ok
		case name == "*":
			star = ok
		}
	}
	return star
}
