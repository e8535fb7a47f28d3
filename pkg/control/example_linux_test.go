package control_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/gofork/gofork/pkg/control"
)

// toy is a Backend with one companion, which it can stop.
type toy struct {
	control.Unsupported
	state string
}

func (t *toy) Status(context.Context) (*control.Status, error) {
	return &control.Status{Name: "shop", Companions: []control.Companion{{Name: "mailer", Instance: 1, State: t.state}}}, nil
}

func (t *toy) Act(ctx context.Context, a control.Action) ([]control.Companion, error) {
	if a.Name != "mailer" {
		return nil, control.UnknownCompanion(a.Target())
	}
	t.state = control.Stopped
	s, err := t.Status(ctx)
	return s.Companions, err
}

// A server on a unix socket, and a client that asks it.
func Example() {
	dir, err := os.MkdirTemp("", "control-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket, err := control.Listen(filepath.Join(dir, "shop.sock"), control.ListenOptions{Mode: 0o600, DirMode: 0o700})
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Close()
	ln, err := socket.Listener()
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- control.Serve(ctx, ln, &toy{state: control.Running}, control.Options{SelfUID: uint32(os.Geteuid())})
	}()

	c := control.Dial(socket.Path())
	s, err := c.Status(ctx)
	fmt.Println(s.Name, s.Companions[0].ID(), s.Companions[0].State, err)
	done, err := c.Act(ctx, control.Action{Op: control.OpStop, Name: "mailer", Wait: true})
	fmt.Println(done[0].State, err)

	_, err = c.Act(ctx, control.Action{Op: control.OpStop, Name: "queue", Instance: 2})
	var refused *control.Error
	fmt.Println(errors.As(err, &refused), refused.Status, refused.Code)
	_, err = c.Scale(ctx, control.ScaleRequest{})
	fmt.Println(err)
	c.Close()

	stop()
	fmt.Println("served:", <-ended)
	_, err = control.Dial(filepath.Join(dir, "nobody.sock")).Status(context.Background())
	fmt.Println(errors.Is(err, control.ErrUnreachable))
	// Output:
	// shop mailer RUNNING <nil>
	// STOPPED <nil>
	// true 404 unknown_companion
	// cannot scale: the body must have either workers or delta, such as {"workers": 4}
	// served: <nil>
	// true
}
