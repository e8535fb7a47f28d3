package link_test

import (
	"fmt"
	"net"

	"github.com/gofork/gofork/pkg/link"
)

// Both ends of the line. Between processes they are those of a [link.Pair], of which
// the manager inherits one.
func Example() {
	ours, theirs := net.Pipe()
	arbiter, manager := link.New(ours), link.New(theirs)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for messages := range manager.Received() {
			for _, m := range messages {
				fmt.Println("the manager is asked to", m.Act.Op, m.Act.Name)
				manager.Send(link.Message{Done: &link.Done{ID: m.Act.ID}})
			}
		}
		fmt.Println("the arbiter is gone")
		manager.Close()
	}()
	arbiter.Send(link.Message{Act: &link.Act{ID: 1, Op: "restart", Name: "mailer"}})
	answers := <-arbiter.Received()
	fmt.Println("answer to", answers[0].Done.ID)
	arbiter.Close()
	<-done
	// Output:
	// the manager is asked to restart mailer
	// answer to 1
	// the arbiter is gone
}
