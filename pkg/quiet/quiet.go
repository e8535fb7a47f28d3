// Package quiet finds the moment after much was done when nothing is left to do,
// for what can wait until then: to give memory back.
//
//	       enough work                  rest over: Run
//	idle ──────────────► busy ──► resting ────────────► idle
//	                       ▲          │ more work
//	                       └──────────┘
//
// Who is never quiet, because a companion ends and is started again without end,
// gets its Run all the same, a while after there was enough work for it.
//
// It has no timer of its own: it is a deadline among those of its owner's loop,
// and wakes nobody who did nothing.
package quiet

import (
	"sync"
	"time"
)

// enough is the work that is worth a Run, in units of [Watch.Did].
const enough = 128

const (
	rest   = 250 * time.Millisecond // how long nothing must have been done
	latest = 10 * time.Second       // how long it is waited for a rest
)

// Watch looks at one loop. It belongs to its goroutine.
type Watch struct {
	run     func()
	work    int
	seen    int // work at the last Deadline
	at      time.Time
	by      time.Time // at the latest; set with the first at
	running sync.WaitGroup
}

// Over returns a watch that calls run on a goroutine of its own; nil: it watches
// nothing. A start is enough work by itself.
func Over(run func()) *Watch { return &Watch{run: run, work: enough} }

// Did counts one thing that was done.
func (w *Watch) Did() { w.work++ }

// DidMuch counts something that is worth a Run by itself.
func (w *Watch) DidMuch() { w.work += enough }

// Deadline is asked before the loop waits, and says when Due wants to be called;
// zero = never.
func (w *Watch) Deadline(now time.Time) time.Time {
	if w.run == nil || w.work < enough {
		return time.Time{}
	}
	if w.by.IsZero() {
		w.by = now.Add(latest)
	}
	if w.seen != w.work {
		w.seen, w.at = w.work, now.Add(rest)
		if w.by.Before(w.at) {
			w.at = w.by
		}
	}
	return w.at
}

// Due calls run if its moment has come.
func (w *Watch) Due(now time.Time) {
	if w.at.IsZero() || now.Before(w.at) || w.seen != w.work && now.Before(w.by) {
		return
	}
	w.work, w.seen, w.at, w.by = 0, 0, time.Time{}, time.Time{}
	w.running.Go(w.run)
}

// Wait waits for the end of what was called.
func (w *Watch) Wait() { w.running.Wait() }
