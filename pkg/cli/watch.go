package cli

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// clearScreen moves to the top left and forgets what is below (ECMA-48: CUP, ED).
const clearScreen = "\x1b[H\x1b[J"

// watch draws the status again when something happened. Nobody is asked in
// between: on a terminal the clocks run on by what the last picture said.
func (r *run) watch(ctx context.Context, c *control.Client, targets []string) error {
	for {
		if err := r.watchStream(ctx, c, targets); err != nil || ctx.Err() != nil {
			return err
		}
		// The stream has ended: gofork has, or a new one takes over, or this reader
		// was too slow. A second's rest, so that none of them becomes a busy loop.
		rest := time.NewTimer(time.Second)
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return nil
		}
	}
}

// watchStream draws until the stream ends.
func (r *run) watchStream(ctx context.Context, c *control.Client, targets []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	s, events, err := c.Events(ctx)
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		for range events { // until the stream's reader has ended
		}
	}()
	var second <-chan time.Time
	if terminal(r.stdio.Out) {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		second = ticker.C
	}
	taken := time.Now()
	for {
		if err := r.draw(s, targets, taken); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-second:
		case _, ok := <-events:
			if !ok || !drain(events) {
				return nil
			}
			if s, err = c.Status(ctx); err != nil {
				return nil // gofork is ending; who comes after it begins a new stream
			}
			taken = time.Now()
		}
	}
}

// drain takes what has come in meanwhile: one picture shows it all. It returns
// false at the end of the stream.
func drain(events <-chan control.Event) bool {
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return false
			}
		default:
			return true
		}
	}
}

// draw shows the picture that was taken at that time as it is now.
func (r *run) draw(s *control.Status, targets []string, taken time.Time) error {
	shown := *s
	since := time.Since(taken)
	shown.UptimeSeconds += since.Seconds()
	shown.Companions = append([]control.Companion(nil), s.Companions...)
	shown.Workers.List = append([]control.Worker(nil), s.Workers.List...)
	if since >= time.Second {
		for i := range shown.Companions {
			c := &shown.Companions[i]
			if c.StartedAt != nil {
				// From what was said of its age: the clock may have been set since it began.
				began := taken.Add(-time.Duration(c.UptimeSeconds * float64(time.Second)))
				c.StartedAt = &began
			}
			c.Describe(time.Now())
		}
		for i := range shown.Workers.List {
			shown.Workers.List[i].UptimeSeconds += since.Seconds()
		}
	}
	if len(targets) > 0 {
		var err error
		if shown.Companions, err = pick(shown.Companions, targets); err != nil {
			return err
		}
	}
	var page bytes.Buffer
	if terminal(r.stdio.Out) {
		page.WriteString(clearScreen)
	}
	view{status: &shown, companionsOnly: len(targets) > 0}.write(&page, r.painter())
	if !terminal(r.stdio.Out) {
		page.WriteString("\n")
	}
	if _, err := r.stdio.Out.Write(page.Bytes()); err != nil { // in one piece: it does not flicker
		return fmt.Errorf("cannot draw: %w", err)
	}
	return nil
}
