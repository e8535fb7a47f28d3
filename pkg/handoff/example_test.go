package handoff_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"strings"

	"github.com/gofork/gofork/pkg/handoff"
)

// Whoever accepts does so on a duplicate: its end is not the end of the socket.
func ExampleListener_Accept() {
	l, err := handoff.Listen(context.Background(), "127.0.0.1:0", handoff.Options{Backlog: 128})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	address, _ := strings.CutPrefix(l.Addr(), "tcp://")
	for worker := 1; worker <= 2; worker++ {
		accepting, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		client, err := net.Dial("tcp", address) // waits in the kernel's queue
		if err != nil {
			log.Fatal(err)
		}
		conn, err := accepting.Accept()
		fmt.Println("worker", worker, "accepted:", err == nil)
		conn.Close()
		client.Close()
		accepting.Close()
	}
	// Output:
	// worker 1 accepted: true
	// worker 2 accepted: true
}

// What a child that gets two sockets, as descriptors 3 and 4, is told of them.
// LISTEN_PID is missing: only the child knows its pid.
func ExampleListenEnv() {
	for _, kv := range handoff.ListenEnv(2, []string{"127.0.0.1:8000", "unix"}) {
		fmt.Println(kv)
	}
	// Output:
	// LISTEN_FDS=2
	// LISTEN_FDNAMES=127.0.0.1_8000:unix
}
