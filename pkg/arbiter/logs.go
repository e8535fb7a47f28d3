package arbiter

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// Logs implements control.Backend. The lines come from the manager, which keeps them.
func (b *backend) Logs(ctx context.Context, target string, lines int, follow bool) (io.ReadCloser, error) {
	name, instance, err := control.ParseTarget(target)
	if err != nil {
		return nil, control.Errorf(400, control.CodeBadRequest, "%v", err)
	}
	status, err := b.Status(ctx)
	if err != nil {
		return nil, err
	}
	all := control.Select(status.Companions, name, instance)
	switch len(all) {
	case 0:
		return nil, control.UnknownCompanion(target)
	case 1:
		return b.logsOf(ctx, name, all[0].Instance, lines, follow)
	}
	var opened []labelled
	var refused error
	for _, c := range all {
		text, err := b.logsOf(ctx, name, c.Instance, lines, follow)
		if err == nil {
			opened = append(opened, labelled{text, control.InstanceID(name, c.Instance) + " | "})
		} else if refused == nil {
			refused = err
		}
	}
	if len(opened) == 0 {
		return nil, refused
	}
	return merged(opened, follow), nil
}

// logsOf is the output of one instance.
func (b *backend) logsOf(ctx context.Context, name string, instance, lines int, follow bool) (io.ReadCloser, error) {
	first := make(chan *control.Error, 1)
	t := newTail(first)
	q := link.Logs{Name: name, Instance: instance, Lines: lines, Follow: follow}
	var id uint64
	begun := make(chan struct{})
	err := b.put(ctx, request{run: func(l *loop) { id = l.tail(q, t); close(begun) }})
	if err != nil {
		return nil, err
	}
	end := func() {
		_ = b.put(background, request{run: func(l *loop) { l.endTail(id, nil) }}) // else the loop has ended, and it with that
	}
	select {
	case refused := <-first:
		if refused != nil {
			return nil, refused
		}
	case <-ctx.Done():
		end() // behind the question, so that the number is there
		return nil, ctx.Err()
	case <-b.ended:
		return nil, errEnded
	}
	<-begun
	// The end of ctx ends the tail, not the reader: what was printed before it is
	// still read.
	stop := context.AfterFunc(ctx, end)
	r, w := io.Pipe()
	go func() {
		defer stop()
		defer end()
		w.CloseWithError(b.pass(w, t, id))
	}()
	return r, nil
}

// pass writes the lines of a tail until their end, which it returns, or until nobody
// reads them any more.
func (b *backend) pass(w io.Writer, t *tail, id uint64) error {
	const pause = link.LinesWindow / 2 // so that the manager never waits for a reader that keeps up
	taken := 0
	for batch := range t.lines {
		if _, err := io.WriteString(w, strings.Join(batch, "\n")+"\n"); err != nil {
			return err
		}
		if taken++; taken == pause {
			taken = 0
			_ = b.put(background, request{run: func(l *loop) { l.taken(id, pause) }}) // else the loop has ended
		}
	}
	return t.cause
}

// labelled is the output of one of several instances.
type labelled struct {
	text  io.ReadCloser
	label string
}

// merged is the output of all of them, each line behind its label: one after the
// other, or, when they are followed, as it comes. One that breaks off breaks all off;
// the end of the context that they were opened with ends them.
func merged(all []labelled, follow bool) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		var copying sync.WaitGroup
		for _, one := range all {
			copying.Go(func() { one.copyTo(w) })
			if !follow {
				copying.Wait()
			}
		}
		copying.Wait()
		_ = w.Close() // does nothing after an error
	}()
	return r
}

// copyTo writes whole lines, which do not mix with those of others.
func (l labelled) copyTo(w *io.PipeWriter) {
	defer func() { _ = l.text.Close() }() // read to the end, or nobody reads any more
	lines := bufio.NewReader(l.text)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			if _, gone := io.WriteString(w, l.label+line); gone != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			w.CloseWithError(err)
			return
		}
	}
}
