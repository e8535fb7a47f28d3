//go:build linux

package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// record is one log record of gofork.
type record struct {
	At     time.Time
	Level  string // upper case
	Msg    string
	Event  string
	Role   string
	Fields map[string]any // every key, these included
	Line   string
}

func (r record) String() string { return r.Line }

// text returns a field as one would write it; whole numbers have no fraction.
func (r record) text(key string) string {
	v, ok := r.Fields[key]
	if !ok {
		return ""
	}
	return fmt.Sprint(v)
}

func (r record) pid() int {
	n, ok := r.Fields["pid"].(json.Number)
	if !ok {
		return 0
	}
	v, err := n.Int64()
	if err != nil {
		return 0
	}
	return int(v)
}

// match decides whether a record is the one that is waited for.
type match func(record) bool

// is matches records of an event whose fields have the given values, compared
// as text: is("worker.exited", "pid", 12, "expected", false).
func is(event string, fields ...any) match {
	return func(r record) bool {
		if r.Event != event {
			return false
		}
		for i := 0; i+1 < len(fields); i += 2 {
			key, ok := fields[i].(string)
			if !ok || r.text(key) != fmt.Sprint(fields[i+1]) {
				return false
			}
		}
		return true
	}
}

// says matches records that mention text anywhere.
func says(text string) match {
	return func(r record) bool { return strings.Contains(r.Line, text) }
}

// journal is what a gofork process wrote: records, and lines that are none.
// Readers append to it; tests wait on it. It only grows.
type journal struct {
	mu      sync.Mutex
	records []record
	lines   []string // not a record: output of children, panics, race reports
	changed chan struct{}
	done    bool // every writer has closed its end
	readers sync.WaitGroup
}

func newJournal() *journal { return &journal{changed: make(chan struct{})} }

// follow reads r in a goroutine until its end, and closes it.
func (j *journal) follow(r io.ReadCloser, seen func(record)) {
	j.readers.Go(func() {
		defer r.Close()
		in := bufio.NewReaderSize(r, 64<<10)
		for {
			line, err := in.ReadString('\n')
			if line = strings.TrimSuffix(line, "\n"); line != "" {
				j.add(line, seen)
			}
			if err != nil {
				return
			}
		}
	})
}

// finish waits for the readers; call it when every writer is gone.
func (j *journal) finish() {
	j.readers.Wait()
	j.update(func() { j.done = true })
}

// settle waits until everything that was written has been read, or, when somebody
// still has the other end open, for a while.
func (j *journal) settle(atMost time.Duration) {
	read := make(chan struct{})
	go func() { j.readers.Wait(); close(read) }()
	wait := time.NewTimer(atMost)
	defer wait.Stop()
	select {
	case <-read:
	case <-wait.C:
	}
}

func (j *journal) add(line string, seen func(record)) {
	rec, ok := parseRecord(line)
	if ok && seen != nil {
		seen(rec)
	}
	j.update(func() {
		if ok {
			j.records = append(j.records, rec)
		} else {
			j.lines = append(j.lines, line)
		}
	})
}

func (j *journal) update(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
	close(j.changed)
	j.changed = make(chan struct{})
}

func parseRecord(line string) (record, bool) {
	if !strings.HasPrefix(line, "{") {
		return record{}, false
	}
	dec := json.NewDecoder(strings.NewReader(line))
	dec.UseNumber()
	rec := record{Line: line}
	if err := dec.Decode(&rec.Fields); err != nil {
		return record{}, false
	}
	if _, ok := rec.Fields["msg"]; !ok {
		return record{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, rec.text("time"))
	if err != nil {
		return record{}, false
	}
	rec.At = at
	rec.Level = strings.ToUpper(rec.text("level"))
	rec.Msg, rec.Event, rec.Role = rec.text("msg"), rec.text("event"), rec.text("role")
	return rec, true
}

// mark is a place in the journal.
type mark int

func (j *journal) mark() mark {
	j.mu.Lock()
	defer j.mu.Unlock()
	return mark(len(j.records))
}

// await returns the first matching record at or after from.
func (j *journal) await(t testing.TB, from mark, what match, why string) record {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for next := int(from); ; {
		j.mu.Lock()
		for ; next < len(j.records); next++ {
			if what(j.records[next]) {
				defer j.mu.Unlock()
				return j.records[next]
			}
		}
		changed, done := j.changed, j.done
		j.mu.Unlock()
		if done {
			t.Fatalf("gofork ended before it logged %s", why)
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("gofork did not log %s within %s", why, patience)
		}
	}
}

// next returns a channel that is closed when something is written.
func (j *journal) next() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.changed
}

// all returns the matching records so far, oldest first.
func (j *journal) all(what match) []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []record
	for _, r := range j.records {
		if what(r) {
			found = append(found, r)
		}
	}
	return found
}

// printed reports whether a line that is no record contains text.
func (j *journal) printed(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if strings.Contains(l, text) {
			return true
		}
	}
	return false
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b strings.Builder
	for _, r := range j.records {
		fmt.Fprintln(&b, r.Line)
	}
	for _, l := range j.lines {
		fmt.Fprintln(&b, "|", l)
	}
	return b.String()
}
