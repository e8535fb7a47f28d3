package companion

import (
	"fmt"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/link"
)

// grown is a core that runs a thousand companions.
func grown(b *testing.B) (*rig, []config.Companion) {
	b.Helper()
	specs := make([]config.Companion, 1000)
	for n := range specs {
		specs[n] = specOf(fmt.Sprintf("c%03d", n))
	}
	r := newRig(b, specs...)
	for _, s := range specs {
		r.up(s.Name)
	}
	r.all = nil
	return r, specs
}

// One of a thousand crashes and is up again.
func BenchmarkCrashAmongAThousand(b *testing.B) {
	r, _ := grown(b)
	i := r.get("c500")
	b.ReportAllocs()
	for b.Loop() {
		r.core.step(r.now, processExited{id: i.id(), status: crash})
		r.now = r.now.Add(time.Minute)
		r.core.step(r.now, timePassed{})
		r.core.step(r.now, processStarted{i.id(), 7})
		r.core.step(r.now, readyReceived{i.id()})
	}
}

// A reload of a thousand companions, one of them changed, until its answer.
func BenchmarkApplyOfAThousandWithOneChange(b *testing.B) {
	r, specs := grown(b)
	i := r.get("c500")
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		specs[500].Hash = fmt.Sprint(n)
		r.core.step(r.now, applyAsked{link.Apply{ID: uint64(n), Specs: specs, Reload: true}})
		r.core.step(r.now, processExited{id: i.id()})
		r.core.step(r.now, processStarted{i.id(), 7})
		r.core.step(r.now, readyReceived{i.id()})
	}
}

// What the loop asks before each wait.
func BenchmarkEarliestOfAThousand(b *testing.B) {
	r, _ := grown(b)
	b.ReportAllocs()
	for b.Loop() {
		r.core.earliest()
	}
}

// The first apply of a thousand companions, until all of them have a process.
func BenchmarkFirstApplyOfAThousand(b *testing.B) {
	_, specs := grown(b)
	b.ReportAllocs()
	for b.Loop() {
		r := newRig(b)
		r.core.step(r.now, applyAsked{link.Apply{ID: 1, Specs: specs}})
		for n, i := range r.core.instances {
			r.core.step(r.now, processStarted{i.id(), 100 + n})
		}
	}
}
