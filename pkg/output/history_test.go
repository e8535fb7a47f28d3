package output

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

func TestTailIsTheLastLinesWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h history
		var all []string
		length := rapid.SampledFrom([]int{0, 10, 100, 400, 2000, MaxLine}).Draw(t, "length")
		for range rapid.IntRange(0, 30).Draw(t, "chunks") {
			var chunk strings.Builder
			for range rapid.IntRange(1, 300*100/(length+100)+1).Draw(t, "lines") {
				line := strings.Repeat("x", rapid.IntRange(0, length).Draw(t, "n"))
				all = append(all, line)
				chunk.WriteString(line + "\n")
			}
			h.add([]byte(chunk.String()))
			if cap(h.buf) > 2*historyBytes {
				t.Fatalf("history takes %d bytes", cap(h.buf))
			}
		}
		n := rapid.SampledFrom([]int{-1, 0, 1, 5, HistoryLines, HistoryLines + 1}).Draw(t, "ask")
		got := h.tail(n)
		if len(got) > max(0, min(n, HistoryLines)) || !slices.Equal(got, all[len(all)-len(got):]) {
			t.Fatalf("tail(%d) is %d lines that are not the last ones", n, len(got))
		}
		// Fewer than asked for only when there are no more, or no room for the next.
		if want := max(0, min(n, HistoryLines, len(all))); len(got) < want {
			bytes := 0
			for _, line := range all[len(all)-len(got)-1:] {
				bytes += len(line) + 1
			}
			if bytes <= historyBytes {
				t.Fatalf("tail(%d) is %d lines, and %d bytes would have fit", n, len(got), bytes)
			}
		}
	})
}

func TestIdleHistoryTakesNoMemory(t *testing.T) {
	var h history
	if h.tail(5) != nil || cap(h.buf) != 0 || h.followers != nil {
		t.Errorf("history of a silent child: %+v", &h)
	}
	h.add([]byte("one\n"))
	if cap(h.buf) > historyMin {
		t.Errorf("one short line takes %d bytes", cap(h.buf))
	}
}

func TestFollowYieldsTheLastLinesAndThenNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h history
		h.add([]byte("a\nb\nc\n"))
		var got []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range h.follow(t.Context(), 0) {
				break // the first comes without a line, so that one knows from when on nothing is missed
			}
			for lines, err := range h.follow(t.Context(), 2) {
				if err != nil {
					t.Error(err)
				}
				got = append(got, lines...)
			}
		}()
		synctest.Wait()
		h.add([]byte("d\n\ne\n"))
		synctest.Wait()
		h.add([]byte("f\n"))
		h.close()
		<-done
		if want := []string{"b", "c", "d", "", "e", "f"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if len(h.followers) != 0 {
			t.Error("the follower is still known")
		}
	})
}

func TestFollowEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h history
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range h.follow(ctx, 0) {
			}
		}()
		synctest.Wait()
		cancel()
		<-done
		if len(h.followers) != 0 {
			t.Error("the follower is still known")
		}
	})
}

func TestSlowFollowerIsDroppedAndTheOthersAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h history
		chunk := []byte(strings.Repeat(strings.Repeat("x", 1023)+"\n", 1024))
		hold := make(chan struct{})
		var slow error
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, err := range h.follow(t.Context(), 0) {
				<-hold
				slow = err
			}
		}()
		fast, fastDone := 0, make(chan struct{})
		go func() {
			defer close(fastDone)
			for lines, err := range h.follow(t.Context(), 0) {
				if err != nil {
					t.Error(err)
				}
				fast += len(lines)
			}
		}()
		synctest.Wait()
		for range 10 { // MiB; each wait lets the fast one catch up
			h.add(chunk)
			synctest.Wait()
		}
		close(hold)
		<-done
		h.close()
		<-fastDone
		if !errors.Is(slow, ErrFollowerSlow) {
			t.Errorf("slow follower ended with %v", slow)
		}
		if fast != 10*1024 {
			t.Errorf("fast follower got %d lines", fast)
		}
	})
}

// A batch is a message on its way to somebody: what one takes must not grow with
// what a child can print meanwhile.
func TestFollowerGetsABurstInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h history
		var sizes []int
		var got []byte
		done := make(chan struct{})
		go func() {
			defer close(done)
			for lines, err := range h.follow(t.Context(), 0) {
				if err != nil {
					t.Error(err)
				}
				if len(lines) == 0 {
					continue // the first: there was nothing yet
				}
				batch := strings.Join(lines, "\n") + "\n"
				sizes, got = append(sizes, len(batch)), append(got, batch...)
			}
		}()
		synctest.Wait()
		burst := []byte(strings.Repeat("x\n", 3*followerBatch/4) + strings.Repeat("y", MaxLine) + "\n" + "\nlast\n")
		h.add(burst)
		h.close()
		<-done
		if !bytes.Equal(got, burst) {
			t.Errorf("%d bytes arrived of %d, or others", len(got), len(burst))
		}
		if slices.Max(sizes) > followerBatch {
			t.Errorf("batches of %d bytes", sizes)
		}
	})
}
