//go:build linux

package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// remembered is how much of what happened is printed after a failure.
const remembered = 500

// entry is one log record, as far as it is judged here.
type entry struct {
	Event      string `json:"event"`
	Msg        string `json:"msg"`
	Level      string `json:"level"`
	PID        int    `json:"pid"`
	Slot       int    `json:"slot"`
	Generation int    `json:"generation"`
	Expected   *bool  `json:"expected"`
	Companion  string `json:"companion"`
	Instance   int    `json:"instance"`
	Child      int    `json:"child"`
	Dropped    int    `json:"dropped_lines"` // of a captured log, told when it can be written again
}

// history is the last of what was done and logged, in the order of this process.
type history struct {
	mu     sync.Mutex
	begun  time.Time
	lines  []string // a ring
	next   int
	counts map[string]int // by event, and by event and companion; lines dropped by companion
	file   *os.File       // CHAOS_LOG: all of it
}

// newHistory begins one; with CHAOS_LOG all of it goes to that file, too.
func newHistory() (*history, error) {
	h := &history{begun: time.Now(), counts: map[string]int{}}
	path := os.Getenv("CHAOS_LOG")
	if path == "" {
		return h, nil
	}
	var err error
	h.file, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	return h, err
}

func (h *history) close() {
	if h.file != nil {
		h.file.Close()
	}
}

func (h *history) add(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addLocked(fmt.Sprintf(format, args...))
}

func (h *history) addLocked(line string) {
	const width = 400
	if len(line) > width {
		line = line[:width] + "…"
	}
	line = fmt.Sprintf("%9.3f %s", time.Since(h.begun).Seconds(), line)
	if h.file != nil {
		fmt.Fprintln(h.file, line)
	}
	if len(h.lines) < remembered {
		h.lines = append(h.lines, line)
		return
	}
	h.lines[h.next%remembered] = line
	h.next++
}

func (h *history) count(event string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts[event]
}

func (h *history) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := h.next % remembered
	return strings.Join(h.lines[from:], "\n") + "\n" + strings.Join(h.lines[:from], "\n")
}

// follow reads what gofork and its children print until its end. Records go to
// judge; a line that is none, and speaks of a broken program, to broken.
func (h *history) follow(r io.Reader, judge func(entry), broken func(string)) {
	in := bufio.NewReaderSize(r, 256<<10)
	trace := 0 // lines of a goroutine dump that are still worth keeping
	for {
		line, err := in.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			var e entry
			if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &e) == nil && e.Companion+e.Event != "" {
				h.mu.Lock()
				h.counts[e.Event]++
				h.counts["dropped "+e.Companion] += e.Dropped
				if e.Companion != "" {
					h.counts[e.Event+" "+e.Companion]++
				}
				if !isRestless(e.Companion) { // they would fill the history
					h.addLocked("    " + line)
				}
				h.mu.Unlock()
				judge(e)
			} else {
				for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: ", "runtime: "} {
					if strings.HasPrefix(line, sign) {
						trace = 60
						broken(line)
					}
				}
				if trace > 0 || !strings.HasPrefix(line, "goroutine ") && !strings.Contains(line, "chaos chaos") {
					trace--
					h.add("    | %s", line)
				}
			}
		}
		if err != nil {
			return
		}
	}
}
