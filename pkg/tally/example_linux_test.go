package tally_test

import (
	"fmt"
	"log"
	"time"

	"github.com/gofork/gofork/pkg/tally"
)

// The supervisor makes a page and passes its descriptor on; here both are one process.
func Example() {
	supervisors, fd, err := tally.New()
	if err != nil {
		log.Fatal(err)
	}
	defer supervisors.Close()
	workers, err := tally.Open(fd)
	if err != nil {
		log.Fatal(err)
	}
	workers.Begin()
	workers.End(200, 30*time.Millisecond)
	workers.Begin() // and then it dies
	workers.Close()

	counts := supervisors.Read()
	fmt.Println("begun", counts.Begun, "answered 2xx", counts.Answered[2], "lost", counts.InFlight())
	// Output: begun 2 answered 2xx 1 lost 1
}
