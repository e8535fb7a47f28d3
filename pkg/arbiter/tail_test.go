package arbiter

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// following runs a test against a follower of the output of "job"; the test plays
// the manager, and leave is the reader's going away.
func following(t *testing.T, test func(s *served, id uint64, text io.Reader, leave func())) {
	t.Helper()
	inBubble(t, configOf(0, companions("job")), nil, func(s *served) {
		s.report(link.Message{Instance: &link.Instance{Companion: control.Companion{Name: "job", Instance: 1, State: control.Running}}})
		ctx, leave := context.WithCancel(background)
		defer leave()
		opened := make(chan io.ReadCloser, 1)
		go func() {
			text, err := s.backend.Logs(ctx, "job", 10, true)
			if err != nil {
				t.Error(err)
			}
			opened <- text
		}()
		synctest.Wait()
		var id uint64
		s.on(func(l *loop) {
			for id = range l.tails {
			}
		})
		s.report(link.Message{Lines: &link.Lines{ID: id}})
		text := <-opened
		test(s, id, text, leave)
		_ = text.Close()
		leave()
		s.signal(15)
		s.system.Kill(s.started("manager")[0], 15)
		s.hangUp()
	})
}

func batch(id uint64, n int) link.Message {
	return link.Message{Lines: &link.Lines{ID: id, Lines: []string{fmt.Sprintf("line %d", n)}}}
}

// As many as may be on their way wait for a reader that is busy, and then the
// manager hears that there is room again.
func TestFollowerTakesAWindowAndAsksForMore(t *testing.T) {
	following(t, func(s *served, id uint64, text io.Reader, _ func()) {
		for n := range link.LinesWindow {
			s.report(batch(id, n))
		}
		in := bufio.NewReader(text)
		for n := range link.LinesWindow {
			if line, err := in.ReadString('\n'); line != fmt.Sprintf("line %d\n", n) || err != nil {
				t.Fatalf("line %d is %q, %v", n, line, err)
			}
		}
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		taken := 0
		for _, told := range s.told {
			var n int
			if _, err := fmt.Sscanf(told, "taken %d", &n); err == nil {
				taken += n
			}
		}
		if taken != link.LinesWindow {
			t.Errorf("the manager was told of %d batches that were taken (%q), want %d", taken, s.told, link.LinesWindow)
		}
	})
}

// A server that ends leaves its streams to end by themselves: what a companion said
// last is worth the most.
func TestFollowerGetsTheLastWordsAfterItsContextHasEnded(t *testing.T) {
	following(t, func(s *served, id uint64, text io.Reader, leave func()) {
		for n := range 5 {
			s.report(batch(id, n))
		}
		leave()
		synctest.Wait()
		all, err := io.ReadAll(text)
		if got := strings.Count(string(all), "line "); err != nil || got != 5 {
			t.Errorf("%d lines of 5, %v", got, err)
		}
	})
}

func TestFollowerThatWasTooSlowIsTold(t *testing.T) {
	following(t, func(s *served, id uint64, text io.Reader, _ func()) {
		s.report(batch(id, 1))
		s.report(link.Message{Lines: &link.Lines{ID: id, End: true, Error: control.Conflictf("more than 4 MiB behind")}})
		all, err := io.ReadAll(text)
		if string(all) != "line 1\n" || err == nil || !strings.Contains(err.Error(), "4 MiB behind") {
			t.Errorf("read %q, %v", all, err)
		}
	})
}

// The manager keeps to its window; one that does not costs its follower the stream,
// not the arbiter its memory.
func TestManagerThatSendsTooMuchEndsTheStream(t *testing.T) {
	following(t, func(s *served, id uint64, text io.Reader, _ func()) {
		for n := range 4 * link.LinesWindow {
			s.report(batch(id, n))
		}
		if _, err := io.ReadAll(text); err == nil {
			t.Error("the rest is missing, and the stream ended as if all was well")
		}
	})
}
