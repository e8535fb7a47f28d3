package quiet

import (
	"testing"
	"time"
)

func TestRunsOnceAfterMuchWorkAndARest(t *testing.T) {
	runs := make(chan struct{}, 8)
	w := Over(func() { runs <- struct{}{} })
	defer w.Wait()
	now := time.Unix(0, 0)
	ran := func() int {
		w.Wait()
		n := len(runs)
		for range n {
			<-runs
		}
		return n
	}

	at := w.Deadline(now)
	if want := now.Add(rest); !at.Equal(want) {
		t.Fatalf("after the start the deadline is %v, want %v", at, want)
	}
	w.Did()
	w.Due(at)
	if ran() != 0 {
		t.Error("it ran though something had been done since")
	}
	now = at
	if at = w.Deadline(now); !at.Equal(now.Add(rest)) {
		t.Errorf("work does not put the deadline off: %v", at)
	}
	w.Due(at.Add(-1))
	if ran() != 0 {
		t.Error("it ran a nanosecond early")
	}
	w.Due(at)
	if ran() != 1 {
		t.Error("it did not run at its moment")
	}
	for range enough - 1 {
		w.Did()
	}
	if at := w.Deadline(now); !at.IsZero() {
		t.Errorf("little work wakes at %v", at)
	}
	w.Did()
	w.Due(w.Deadline(now))
	if ran() != 1 {
		t.Error("it did not run a second time")
	}
}

// Memory stays as a start left it until the first Run.
func TestRunsThoughItIsNeverQuiet(t *testing.T) {
	runs := 0
	w := Over(func() { runs++ })
	begun := time.Unix(0, 0)
	now := begun
	for {
		w.Did()
		at := w.Deadline(now)
		if at.IsZero() {
			t.Fatal("much was done, and there is no deadline")
		}
		if step := now.Add(rest / 2); step.Before(at) {
			now = step
			continue
		}
		now = at
		w.Did() // in the moment between the timer and its reader
		w.Due(now)
		w.Wait()
		if runs > 0 {
			break
		}
	}
	if took := now.Sub(begun); runs != 1 || took != latest {
		t.Errorf("%d runs after %v, want one after %v", runs, took, latest)
	}
	if at := w.Deadline(now); !at.IsZero() {
		t.Errorf("the work before it counts again: deadline %v", at)
	}
}

func TestWithoutAnythingToRunThereIsNoDeadline(t *testing.T) {
	w := Over(nil)
	if at := w.Deadline(time.Unix(0, 0)); !at.IsZero() {
		t.Errorf("deadline %v", at)
	}
	w.Due(time.Unix(9, 0))
	w.Wait()
}
