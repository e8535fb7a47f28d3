//go:build linux

package chaos

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// defaultSeed is that of `make test`: the same choices everywhere.
const defaultSeed = 20

// duration is how long the chaos takes, quiet moments included.
func duration(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("CHAOS_TIME")
	if text == "" {
		return time.Minute
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("cannot read CHAOS_TIME: %v", err)
	}
	return d
}

// thorough says that there is time: it is `make chaos`, not one test of many.
func thorough() bool { return os.Getenv("CHAOS_TIME") != "" }

// seed is CHAOS_SEED: a number, or "random".
func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(defaultSeed)
	switch text := os.Getenv("CHAOS_SEED"); text {
	case "":
	case "random":
		n = uint64(time.Now().UnixNano()) % 1_000_000
	default:
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("cannot read CHAOS_SEED: %v", err)
		}
	}
	t.Logf("CHAOS_SEED=%d", n)
	return n
}

func TestNothingThatHappensCostsARequestOrLosesAProcess(t *testing.T) {
	total := duration(t)
	r := newRun(t, seed(t))
	end := time.Now().Add(total)
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	clients := r.arrive(ctx, 12)
	over := make(chan struct{})
	r.readers.Go(func() { r.reaping(over) })

	quiets := 1
	for storm := r.between(6*time.Second, 12*time.Second); time.Now().Before(end) && !r.failed(); storm = r.between(6*time.Second, 20*time.Second) {
		for until := time.Now().Add(min(storm, time.Until(end))); time.Now().Before(until) && !r.failed(); {
			r.act()
			pause(r.between(20*time.Millisecond, 500*time.Millisecond))
		}
		r.history.add("quiet")
		if _, err := r.quiet(baseConfig()); err != nil {
			r.fault("%v", err)
			break
		}
		r.nobodyTwice()
		quiets++
	}
	leave()
	clients.wg.Wait()
	close(over)
	if !r.failed() {
		r.finish()
	}
	var did []string
	for _, name := range slices.Sorted(maps.Keys(r.did)) {
		did = append(did, fmt.Sprintf("%s %d", name, r.did[name]))
	}
	t.Logf("%d requests, %d of them lost with their worker, the longest took %s; %d quiet moments; %d workers, %d companions and %d managers started; %s",
		clients.requests.Load(), clients.excused.Load(), time.Duration(clients.worst.Load()).Round(time.Millisecond), quiets,
		r.history.count("worker.started"), r.history.count("companion.started"), r.history.count("manager.started"), strings.Join(did, ", "))
}

func (r *run) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults > 0
}

// After SIGKILL of the arbiter, whatever it was doing, everything ends: workers
// at once, companions inside their stop windows, the manager after them. The
// manager lives: with both supervisors killed at a time nobody is left to stop a
// companion that does not end by itself.
func TestNothingOutlivesAKilledArbiter(t *testing.T) {
	for i := range 3 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			r := newRun(t, seed(t)+uint64(i))
			ctx, leave := context.WithCancel(context.Background())
			defer leave()
			clients := r.arrive(ctx, 4)
			for range r.rng.IntN(4) {
				[]func(*run){(*run).goodReload, (*run).brokenReload, (*run).scale, (*run).killCompanion, (*run).actOnCompanion}[r.rng.IntN(5)](r)
				pause(r.between(time.Millisecond, 200*time.Millisecond))
			}
			for _, p := range r.marked() {
				r.wound(p.PID) // every request may be lost now, and every process end
			}
			r.spoil(1)
			leave()
			clients.wg.Wait()
			r.history.add("SIGKILL to the arbiter")
			if err := r.send(r.master(), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-r.exited
			r.within(5*time.Second, "the workers end", func() bool { return r.workers() == 0 })
			// The longest window is that of companions; the manager needs a moment after it.
			r.within(5*time.Second+10*time.Second, "everything ends", func() bool { r.adopted(); return len(r.marked()) == 0 })
			r.nobodyTwice()
			r.doing.Wait()
		})
	}
}

// within waits for a fact that announces itself nowhere.
func (r *run) within(d time.Duration, what string, holds func() bool) {
	deadline := time.Now().Add(d)
	for !holds() {
		if time.Now().After(deadline) {
			for _, p := range r.marked() {
				r.history.add("%v: %s", p, commandLine(p.PID))
			}
			r.fault("not within %s: %s", d, what)
			return
		}
		pause(10 * time.Millisecond)
	}
}

// workers counts the processes that serve.
func (r *run) workers() (n int) {
	for _, p := range r.marked() {
		if strings.HasPrefix(commandLine(p.PID), "gofork: app worker") {
			n++
		}
	}
	return n
}
