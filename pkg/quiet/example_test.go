package quiet_test

import (
	"fmt"
	"time"

	"github.com/gofork/gofork/pkg/quiet"
)

// A loop counts what it does, and asks before it waits.
func ExampleWatch() {
	w := quiet.Over(func() { fmt.Println("memory is given back") })
	now := time.Unix(0, 0) // the loop's clock
	for range 1000 {
		w.Did()
	}
	deadline := w.Deadline(now)
	fmt.Println("due in", deadline.Sub(now))
	w.Did() // something came up
	w.Due(deadline)
	deadline = w.Deadline(deadline)
	fmt.Println("put off to", deadline.Sub(now))
	w.Due(deadline)
	w.Wait()
	fmt.Println("due again:", !w.Deadline(deadline).IsZero())
	// Output:
	// due in 250ms
	// put off to 500ms
	// memory is given back
	// due again: false
}
