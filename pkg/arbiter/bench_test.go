package arbiter

import (
	"fmt"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/link"
)

// large is a core with 64 workers and 1,000 companions that all run.
func large(b *testing.B) *rig {
	var names []string
	for n := range 1000 {
		names = append(names, fmt.Sprintf("job-%04d", n))
	}
	r := serving(b, configOf(64, companions(names...)))
	r.all = nil
	b.ReportAllocs()
	return r
}

func BenchmarkStepHeartbeat(b *testing.B) {
	r := large(b)
	for n := 0; b.Loop(); n++ {
		r.now = r.now.Add(time.Millisecond)
		r.core.step(r.now, workerSaid{id: id{1 + n%64, 1}, beat: true})
		r.core.earliest()
	}
}

func BenchmarkStepReport(b *testing.B) {
	r := large(b)
	specs := r.core.config.Companions
	for n := 0; b.Loop(); n++ {
		r.core.step(r.now, managerSaid{1, link.Message{Instance: running(specs[n%len(specs)], 500)}})
	}
}

func BenchmarkStatus(b *testing.B) {
	r := large(b)
	for b.Loop() {
		r.core.step(r.now, statusAsked{token: 1})
	}
}
