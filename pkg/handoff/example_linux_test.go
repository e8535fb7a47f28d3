package handoff_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/gofork/gofork/pkg/handoff"
)

// The two ends of NOTIFY_SOCKET. The kernel says who sent a message.
func ExampleNotify() {
	dir, err := os.MkdirTemp("", "notify-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	r, err := handoff.ListenNotify(filepath.Join(dir, "notify"))
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	if err := handoff.Notify(r.Path(), "READY=1\nSTATUS=serving 3 queues"); err != nil {
		log.Fatal(err)
	}
	for _, m := range r.Take() {
		fmt.Println(m.PID == os.Getpid(), m.Ready, m.Status)
	}
	// Output: true true serving 3 queues
}
