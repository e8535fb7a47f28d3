package companion

import (
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
)

func TestMemoryOverTheLimitReplacesTheProcess(t *testing.T) {
	limited := func(s *config.Companion) { s.MaxMemory = 1000 }
	r := newRig(t, specOf("a", limited)).up("a")
	r.pass(measureInterval - time.Nanosecond)
	if n := measures(r); n != 0 {
		t.Fatalf("looked %d times before its time", n)
	}
	r.pass(time.Nanosecond)
	if n := measures(r); n != 1 {
		t.Fatalf("looked %d times, want once", n)
	}
	first := r.get("a").id()
	r.do(processMeasured{first, 1000}).is("a", running) // at the limit is within it
	r.do(processMeasured{first, 1001}).is("a", stopping)
	r.exit("a", exitStatus{}).is("a", starting)
	if rec := r.recorded("companion.exited"); attr(rec, "expected") != true || attr(rec, "reason") != causeMemory {
		t.Errorf("%v", rec)
	}
	r.begin("a").do(processMeasured{first, 5000}).is("a", starting) // of the attempt before
}

func TestNothingIsMeasuredUnasked(t *testing.T) {
	r := newRig(t, specOf("a")).up("a")
	r.pass(time.Hour)
	if n := measures(r); n != 0 || !r.core.earliest().IsZero() {
		t.Errorf("looked %d times; next wake-up %v", n, r.core.earliest())
	}
}

// measures counts the looks at memory that the last step ordered.
func measures(r *rig) int {
	n := 0
	for _, a := range r.last {
		if _, ok := a.(measureProcess); ok {
			n++
		}
	}
	return n
}
