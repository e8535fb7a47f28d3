package arbiter

import (
	"context"
	"fmt"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// backend answers control requests by asking the loop: every question is an
// event, so that what it sees is one consistent picture.
type backend struct {
	control.Unsupported
	first    *control.Status // the picture until running is closed: hooks and addresses take their time
	running  chan struct{}
	requests chan<- request
	ended    <-chan struct{} // closed when the loop takes no more
	events   *hub
}

var errEnded error = control.Unavailablef("cannot answer: gofork has stopped")

// ask puts an event to the loop and waits for its reply. When ctx ends first the
// work goes on and its outcome goes nowhere.
func (b *backend) ask(ctx context.Context, question func(token uint64) event) (any, error) {
	answer := make(chan any, 1)
	if err := b.put(ctx, request{ask: question, reply: answer}); err != nil {
		return nil, err
	}
	select {
	case v := <-answer:
		return v, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.ended:
	}
	select {
	case v := <-answer: // the last thing that the loop did
		return v, nil
	default:
		return nil, errEnded
	}
}

// Status implements control.Backend.
func (b *backend) Status(ctx context.Context) (*control.Status, error) {
	select {
	case <-b.running:
	default:
		s := *b.first
		s.UptimeSeconds = time.Since(s.StartedAt).Seconds()
		return &s, nil
	}
	v, err := b.ask(ctx, func(token uint64) event { return statusAsked{token: token} })
	if err != nil {
		return nil, err
	}
	return v.(*control.Status), nil
}

// Stop implements control.Backend.
func (b *backend) Stop(ctx context.Context, r control.StopRequest) error {
	_, err := b.ask(ctx, func(token uint64) event { return stopAsked{by: "request", quick: r.Quick, token: token} })
	return err
}

// Reload implements control.Backend.
func (b *backend) Reload(ctx context.Context, r control.ReloadRequest) (*control.Reload, error) {
	v, err := b.ask(ctx, func(token uint64) event {
		return reloadAsked{token: token, by: "request", only: r.CompanionsOnly, dry: r.DryRun}
	})
	return answerOf[*control.Reload](v, err)
}

// Upgrade implements control.Backend.
func (b *backend) Upgrade(ctx context.Context) (*control.UpgradeResult, error) {
	v, err := b.ask(ctx, func(token uint64) event { return upgradeAsked{token: token, by: "request"} })
	return answerOf[*control.UpgradeResult](v, err)
}

// Scale implements control.Backend.
func (b *backend) Scale(ctx context.Context, s control.ScaleRequest) (*control.Workers, error) {
	e := scaleAsked{by: "request"}
	switch {
	case s.Workers != nil && *s.Workers < 1:
		return nil, control.Errorf(400, control.CodeBadRequest, "cannot scale to %d workers: there must be at least 1", *s.Workers)
	case s.Workers != nil:
		e.to = *s.Workers
	case s.Delta != nil:
		e.delta = *s.Delta
	}
	v, err := b.ask(ctx, func(token uint64) event { e.token = token; return e })
	return answerOf[*control.Workers](v, err)
}

// Reopen implements control.Backend.
func (b *backend) Reopen(ctx context.Context) error {
	done := make(chan struct{})
	if err := b.put(ctx, request{run: func(l *loop) { l.reopen(); close(done) }}); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-b.ended:
		return errEnded
	}
}

// Config implements control.Backend. A configuration is never changed, so it is
// written as a file outside the loop.
func (b *backend) Config(ctx context.Context) (any, error) {
	answer := make(chan *config.Config, 1)
	if err := b.put(ctx, request{run: func(l *loop) { answer <- l.core.config }}); err != nil {
		return nil, err
	}
	select {
	case c := <-answer:
		return c.Effective(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.ended:
		return nil, errEnded
	}
}

// answerOf reads a reply that may be a refusal.
func answerOf[T any](v any, err error) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	if refused, ok := v.(*control.Error); ok {
		return none, refused
	}
	return v.(T), nil
}

// Act implements control.Backend.
func (b *backend) Act(ctx context.Context, a control.Action) ([]control.Companion, error) {
	act := link.Act{Op: a.Op, Name: a.Name, Instance: a.Instance, Wait: a.Wait}
	if a.Op == control.OpSignal {
		sig, err := config.ParseSignal(a.Signal)
		if err != nil {
			return nil, control.Errorf(400, control.CodeBadRequest, "cannot signal %s: %v", a.Target(), err)
		}
		act.Signal = sig
	}
	v, err := b.ask(ctx, func(token uint64) event { return actAsked{token, act} })
	if err != nil {
		return nil, err
	}
	if refused := v.(*control.Error); refused != nil {
		return nil, refused
	}
	status, err := b.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s of %s is done: %w", a.Op, a.Target(), err)
	}
	return control.Select(status.Companions, a.Name, a.Instance), nil
}

// Events implements control.Backend.
func (b *backend) Events(ctx context.Context) (*control.Status, <-chan control.Event, error) {
	v, err := b.ask(ctx, func(token uint64) event { return statusAsked{token: token, follow: true} })
	if err != nil {
		return nil, nil, err
	}
	f := v.(*followed)
	context.AfterFunc(ctx, func() { b.events.leave(f.events) })
	return f.status, f.events, nil
}

// put hands a request to the loop.
func (b *backend) put(ctx context.Context, r request) error {
	select {
	case b.requests <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-b.ended:
		return errEnded
	}
}
