//go:build linux

package chaos

import (
	"context"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/control"
)

// A clock that is set, far back and far forward, makes nothing earlier or later:
// whatever gofork waits for is counted by the clock that cannot be set. What it
// tells of the time of day follows.
//
// The clock is that of the processes of this gofork, see setClock: all others on
// the machine keep theirs. With CHAOS_CLOCK=1 it is the machine's, which is for a
// machine that nobody else uses; it is set back again at the end.
func TestAClockThatIsSetChangesNoDelay(t *testing.T) {
	r := newRun(t, seed(t))
	set := r.setClock
	if os.Getenv("CHAOS_CLOCK") == "1" {
		set = machineClock(t)
	} else if err := r.trySettingClock(); err != nil {
		t.Skipf("no clock is set: %v; CHAOS_CLOCK=1 sets the machine's", err)
	}
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	clients := r.arrive(ctx, 4)

	begun := time.Now()
	var total time.Duration
	settings := []time.Duration{-time.Hour, 26 * time.Hour}
	if thorough() {
		settings = append(settings, -400*24*time.Hour, 20*365*24*time.Hour)
	}
	for i, by := range settings {
		r.history.add("the clock is set by %s", by)
		before, from := r.ages()
		if err := set(by); err != nil {
			t.Fatal(err)
		}
		total += by
		// What time it is: neither reading is of a clock that was set.
		r.tells(func() time.Time { return begun.Round(0).Add(time.Since(begun) + total) })
		r.sameAges(before, from)

		for _, name := range []string{"guard", "family"} {
			victim := r.companion(name)
			r.kill(victim)
			r.within(5*time.Second, name+" is replaced", func() bool { now := r.companion(name); return now != 0 && now != victim })
		}
		ends := r.history.count("companion.exited restless")
		r.within(5*time.Second, "what ends by itself is started again and again", func() bool {
			return r.history.count("companion.exited restless") > ends+3
		})

		c := baseConfig()
		c.version = i + 1
		r.write(c)
		at := time.Now()
		res, err := r.reload()
		if err != nil || !res.OK {
			t.Fatalf("a reload failed: %+v, %v", res, err)
		}
		if took := time.Since(at); res.Seconds < 0 || res.Seconds > took.Seconds() {
			r.fault("the reload says that it took %v s, it was %v", res.Seconds, took)
		}
		r.within(5*time.Second, "the old workers are drained", func() bool { return r.workers() == c.workers })
		before, from = r.ages()
		ctx, cancel := ask()
		_, err = r.control.Act(ctx, control.Action{Op: control.OpRestart, Name: "stubborn"})
		cancel()
		if err != nil {
			r.fault("cannot restart: %v", err)
		}
		r.sameAges(before, from) // of stubborn, which takes its time to stop, it was told once more
		if i == 0 || thorough() {
			r.hangsInTime()
		}
		if _, err := r.quiet(baseConfig()); err != nil {
			t.Fatalf("%v\n%s", err, r.history)
		}
	}
	leave()
	clients.wg.Wait()
	at := time.Now()
	r.finish()
	if took := time.Since(at); took > 10*time.Second {
		r.fault("the end took %s", took)
	}
}

// hangsInTime checks that a worker without a heartbeat is ended, in its time, and
// meanwhile none that has one.
func (r *run) hangsInTime() {
	victim, at := r.aWorker(), time.Now()
	r.wound(victim)
	if err := r.send(victim, unix.SIGSTOP); err != nil {
		r.t.Fatal(err)
	}
	r.within(hung, "a worker that hangs is ended", func() bool { return r.send(victim, 0) != nil })
	if took := time.Since(at); took < beat/2 {
		r.fault("a worker that hangs was ended after %s, though it may be silent for %s", took, beat)
	}
}

// tells waits for a word of each supervisor and looks at its time.
func (r *run) tells(now func() time.Time) {
	ctx, cancel := ask()
	defer cancel()
	client := control.Dial(r.sock)
	defer client.Close()
	_, events, err := client.Events(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	r.reopen() // the arbiter says so; of the manager's children one ends all the time
	heard := map[string]bool{}
	for e := range events {
		if off := e.Time.Sub(now()); !heard[e.Role] && off.Abs() > 5*time.Second {
			r.fault("the clock of the %s is %s away from what it was set to", e.Role, off)
		}
		if heard[e.Role] = true; heard["arbiter"] && heard["manager"] {
			cancel()
		}
	}
	if !heard["arbiter"] || !heard["manager"] {
		r.t.Fatalf("only heard of %v", heard)
	}
}

// ages are the uptimes of all processes that the status knows.
func (r *run) ages() (map[int]time.Duration, time.Time) {
	at := time.Now()
	st, err := r.status()
	if err != nil {
		r.t.Fatal(err)
	}
	ages := map[int]time.Duration{}
	add := func(pid int, seconds float64) { ages[pid] = time.Duration(seconds * float64(time.Second)) }
	add(st.PID, st.UptimeSeconds)
	for _, w := range st.Workers.List {
		add(w.PID, w.UptimeSeconds)
	}
	for _, c := range st.Companions {
		add(c.PID, c.UptimeSeconds)
	}
	delete(ages, 0)
	return ages, at
}

// sameAges checks that who still lives has grown older by the time that passed.
func (r *run) sameAges(before map[int]time.Duration, from time.Time) {
	now, at := r.ages()
	same := 0
	for pid, age := range now {
		was, known := before[pid]
		if !known {
			continue
		}
		same++
		if off := age - was - at.Sub(from); off.Abs() > time.Second {
			r.fault("pid %d (%s) is %s old, %s before that it was %s", pid, commandLine(pid), age, at.Sub(from), was)
		}
	}
	if same < 2 {
		r.fault("of %d processes %d are left", len(before), same)
	}
}

// machineClock sets the clock of the machine, by distances, so that nothing is
// lost between a look and a deed; the test's end takes all of them back.
func machineClock(t *testing.T) func(time.Duration) error {
	const setOffset = 0x0100 // ADJ_SETOFFSET of linux/timex.h
	var total time.Duration
	set := func(by time.Duration) error {
		x := unix.Timex{Modes: setOffset, Time: unix.Timeval{Sec: int64(by / time.Second)}}
		if _, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &x); err != nil {
			return err
		}
		total += by
		return nil
	}
	if err := set(0); err != nil {
		t.Skipf("CHAOS_CLOCK=1: the clock cannot be set: %v", err)
	}
	begun := time.Now()
	t.Cleanup(func() {
		if err := set(-total); err != nil {
			t.Errorf("THE CLOCK OF THIS MACHINE IS WRONG BY %s: %v", total, err)
		}
		now := time.Now()
		if off := now.Round(0).Sub(begun.Round(0)) - now.Sub(begun); off.Abs() > time.Second {
			t.Errorf("the clock of this machine is %s away from where it would be", off)
		}
	})
	return set
}
