package arbiter

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/fsnotify/fsnotify"
)

// watchDelay is how long files have to be quiet before their change counts: an
// editor or a checkout writes many in a row.
const watchDelay = 300 * time.Millisecond

// watcher reloads when files change, for development. It has one goroutine.
type watcher struct {
	patterns []string // absolute globs; ** is any number of folders
	events   *fsnotify.Watcher
	changed  func(path string)
	log      *slog.Logger
	closed   chan struct{}
	running  sync.WaitGroup
}

// watchFiles begins to watch, and tells changed, which takes it before closed or
// not at all, of each burst of changes.
func watchFiles(patterns []string, changed func(path string, closed <-chan struct{}), log *slog.Logger) (*watcher, error) {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &watcher{events: events, log: log, closed: make(chan struct{})}
	w.changed = func(path string) { changed(path, w.closed) }
	for _, p := range patterns {
		absolute, err := filepath.Abs(p)
		if err != nil {
			absolute = p
		}
		w.patterns = append(w.patterns, absolute)
		base, _ := doublestar.SplitPattern(filepath.ToSlash(absolute))
		w.add(base)
	}
	w.running.Go(w.run)
	return w, nil
}

func (w *watcher) close() {
	close(w.closed)
	_ = w.events.Close() // fails only when it is closed already
	w.running.Wait()
}

// add watches a folder and all below it. Hidden folders hold no sources, and
// often very many files.
func (w *watcher) add(dir string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil //nolint:nilerr // it has gone meanwhile, or is not ours to read
		case !d.IsDir():
			return nil
		case path != dir && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "__pycache__"):
			return fs.SkipDir
		}
		if err := w.events.Add(path); err != nil {
			w.log.Warn("cannot watch a folder", "path", path, "error", err.Error())
		}
		return nil
	})
	if err != nil {
		w.log.Warn("cannot watch a folder", "path", dir, "error", err.Error())
	}
}

func (w *watcher) run() {
	quiet := time.NewTimer(watchDelay)
	quiet.Stop()
	var last string
	for {
		select {
		case e, ok := <-w.events.Events:
			if !ok {
				quiet.Stop()
				return
			}
			if e.Has(fsnotify.Create) {
				if info, err := os.Stat(e.Name); err == nil && info.IsDir() {
					w.add(e.Name)
				}
			}
			if e.Op != fsnotify.Chmod && w.matches(e.Name) {
				last = e.Name
				quiet.Reset(watchDelay)
			}
		case err, ok := <-w.events.Errors:
			if ok {
				w.log.Warn("cannot watch files", "error", err.Error())
			}
		case <-quiet.C:
			w.changed(last)
		}
	}
}

func (w *watcher) matches(path string) bool {
	return slices.ContainsFunc(w.patterns, func(p string) bool {
		ok, err := doublestar.PathMatch(p, path)
		return ok && err == nil
	})
}

// watch follows what the generation that serves wants to be watched.
func (l *loop) watch(patterns []string) {
	if slices.Equal(patterns, l.watched) {
		return
	}
	l.watched = patterns
	if l.watcher != nil {
		l.watcher.close()
		l.watcher = nil
	}
	if len(patterns) == 0 {
		return
	}
	w, err := watchFiles(patterns, func(path string, closed <-chan struct{}) {
		select {
		case l.facts <- func() { l.step(reloadAsked{by: "change of " + path}) }:
		case <-closed: // by the loop itself, which takes no facts meanwhile
		}
	}, l.Logger)
	if err != nil {
		l.Logger.Warn("cannot watch files", "error", err.Error())
		return
	}
	l.watcher = w
}
