package restart_test

import (
	"fmt"
	"time"

	"github.com/gofork/gofork/pkg/restart"
)

func ExamplePolicy_Delay() {
	p := restart.Policy{Initial: time.Second, Max: 30 * time.Second}
	for failures := 1; failures <= 7; failures++ {
		fmt.Println(p.Delay(failures, nil)) // without a jitter nothing random is asked for
	}
	// Output:
	// 1s
	// 2s
	// 4s
	// 8s
	// 16s
	// 30s
	// 30s
}

// A worker that dies is replaced at once; one whose replacement dies as well is not
// started in a loop. Whoever was up for long enough begins anew.
func ExampleCounter_Failed() {
	p := restart.Policy{Initial: time.Second, Max: 30 * time.Second, Reset: 30 * time.Second, Immediate: true}
	var c restart.Counter
	for _, up := range []time.Duration{time.Hour, time.Second, time.Second, 0, time.Minute} {
		fmt.Printf("up for %v: again in %v\n", up, c.Failed(p, up, nil))
	}
	// Output:
	// up for 1h0m0s: again in 0s
	// up for 1s: again in 1s
	// up for 1s: again in 2s
	// up for 0s: again in 4s
	// up for 1m0s: again in 0s
}
