//go:build linux

package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/google/go-cmp/cmp"
)

// busy has companions that stay, ones that print, and ones that crash as fast as
// they are restarted; workers that cost nothing, so that reloads are quick.
const busy = `
[worker]
command = ["sleep", "1000"]
count = 2
ready_after = "10ms"
[companion_defaults]
startsecs = "0s"
stop_timeout = "2s"
backoff_initial = "20ms"
backoff_max = "100ms"
[companion.stays]
command = ["sleep", "1000"]
numprocs = 6
[companion.talks]
command = ["sh", "-c", "echo hello; exec sleep 1000"]
stdout = "log"
numprocs = 2
[companion.crashes]
command = ["sh", "-c", "sleep 0.05; exit 7"]
numprocs = 3
[companion.slow]
command = ["sleep", "1000"]
startsecs = "50ms"
`

// consistent says what is wrong in one status by itself, or between it and an
// earlier one of the same gofork.
func consistent(st, before *control.Status) error {
	if before != nil && (st.PID != before.PID || st.Generation < before.Generation || !st.StartedAt.Equal(before.StartedAt)) {
		return fmt.Errorf("pid %d generation %d after pid %d generation %d", st.PID, st.Generation, before.PID, before.Generation)
	}
	who := map[int]string{st.PID: "gofork"}
	lives := func(pid int, name string) error {
		if other := who[pid]; pid != 0 && other != "" {
			return fmt.Errorf("%s and %s have the same pid %d", other, name, pid)
		}
		who[pid] = name
		return nil
	}
	ready := 0
	for _, w := range st.Workers.List {
		if err := lives(w.PID, fmt.Sprintf("worker %d.%d", w.Slot, w.Attempt)); err != nil {
			return err
		}
		if w.State == control.WorkerReady {
			ready++
		}
	}
	if st.Workers.Ready > st.Workers.Configured || st.Workers.Ready > ready {
		return fmt.Errorf("%d of %d workers are ready, %d are shown so", st.Workers.Ready, st.Workers.Configured, ready)
	}
	instances := map[string]bool{}
	for _, c := range st.Companions {
		instances[c.ID()] = true
		if err := lives(c.PID, c.ID()); err != nil {
			return err
		}
		switch up := c.PID != 0 && c.StartedAt != nil; {
		case c.State == control.Running && !up, c.State == control.Stopped && up,
			c.State == control.Backoff && c.NextRetryAt == nil:
			return fmt.Errorf("%s is %+v", c.ID(), c)
		}
	}
	if len(st.Companions) != 12 || len(instances) != 12 {
		return fmt.Errorf("%d companions of %d names, want 12", len(st.Companions), len(instances))
	}
	return nil
}

// controlClient is one of those that ask at the same time.
type controlClient struct {
	*control.Client
	last *control.Status
}

// refused lets a refusal pass: the answer to who wants what another has undone.
func refused(err error) error {
	var e *control.Error
	if errors.As(err, &e) && e.Status == http.StatusConflict {
		return nil
	}
	return err
}

func (c *controlClient) status(ctx context.Context) error {
	st, err := c.Status(ctx)
	if err != nil {
		return err
	}
	err = consistent(st, c.last)
	c.last = st
	return err
}

func (c *controlClient) act(ctx context.Context, op, name string, instance int) error {
	a := control.Action{Op: op, Name: name, Instance: instance, Wait: true}
	if op == control.OpSignal {
		a.Signal = "HUP" // which ends all of them: a crash
	}
	instances, err := c.Act(ctx, a)
	if err == nil && len(instances) != 1 {
		return fmt.Errorf("%s of %s answers %d instances", op, a.Target(), len(instances))
	}
	return refused(err)
}

func (c *controlClient) reload(ctx context.Context, r control.ReloadRequest) error {
	result, err := c.Reload(ctx, r)
	if err == nil && !result.OK && !r.DryRun {
		return fmt.Errorf("the reload failed: %s", result.Error)
	}
	return refused(err)
}

func (c *controlClient) scale(ctx context.Context, to int) error {
	w, err := c.Scale(ctx, control.ScaleRequest{Workers: &to})
	if err == nil && w.Configured != to {
		return fmt.Errorf("scaled to %d, answered %d", to, w.Configured)
	}
	return err
}

// follow reads a few events: their numbers rise by one.
func (c *controlClient) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, events, err := c.Events(ctx)
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		for range events { // until its reader has ended
		}
	}()
	if err := consistent(st, c.last); err != nil {
		return err
	}
	var last uint64
	for range 5 {
		e, ok := <-events
		switch {
		case !ok:
			return errors.New("the stream of events has ended")
		case last != 0 && e.Seq != last+1:
			return fmt.Errorf("event %d came after event %d", e.Seq, last)
		}
		last = e.Seq
	}
	return nil
}

func (c *controlClient) logs(ctx context.Context) error {
	text, err := c.Logs(ctx, "talks:2", 3, false)
	if err != nil {
		return err
	}
	defer text.Close()
	printed, err := io.ReadAll(text)
	if err == nil && strings.Trim(string(printed), "helo\n") != "" {
		return fmt.Errorf("talks:2 printed %q", printed)
	}
	return err
}

// ask makes the n-th request of a client; between them every kind is there.
func (c *controlClient) ask(ctx context.Context, client, n int) (what string, err error) {
	instance := 1 + client%6
	switch (client + 3*n) % 12 {
	case 0:
		return "stop", c.act(ctx, control.OpStop, "stays", instance)
	case 1, 2:
		return "start", c.act(ctx, control.OpStart, "stays", instance)
	case 3:
		return "restart", c.act(ctx, control.OpRestart, "stays", instance)
	case 4:
		return "restart of one that is starting", c.act(ctx, control.OpRestart, "slow", 1)
	case 5:
		return "restart of one that crashes", c.act(ctx, control.OpRestart, "crashes", 1+client%3)
	case 6:
		return "signal", c.act(ctx, control.OpSignal, "talks", 1+client%2)
	case 7:
		return "scale", c.scale(ctx, 1+client%3)
	case 8:
		if client%3 == 0 {
			return "reload", c.reload(ctx, control.ReloadRequest{})
		}
		return "dry run", c.reload(ctx, control.ReloadRequest{DryRun: true, CompanionsOnly: client%3 == 1})
	case 9:
		return "events", c.follow(ctx)
	case 10:
		return "logs", c.logs(ctx)
	}
	return "companions", func() error { _, err := c.Companions(ctx, "stays"); return err }()
}

func TestAHundredControlClientsAreAllAnswered(t *testing.T) {
	t.Parallel()
	const clients, requests = 100, 4
	s := start(t, busy)
	s.await("server.ready")
	s.awaitCompanion("talks:2", control.Running) // the last of them to be started
	began := time.Now()

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	asked := map[string]int{}
	for client := range clients {
		all.Go(func() {
			c := controlClient{Client: control.Dial(s.sock)}
			defer c.Close()
			for n := range requests {
				what, err := c.ask(ctx, client, n)
				if err == nil {
					err = c.status(ctx)
				}
				mu.Lock()
				asked[what]++
				mu.Unlock()
				if err != nil {
					t.Errorf("client %d, request %d, %s: %v", client, n, what, err)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d clients in %s: %v", clients, time.Since(began).Round(time.Millisecond), asked)
	if len(asked) != 11 {
		t.Errorf("what was asked: %v, want all 11 kinds", asked)
	}

	// It has kept its head: what is asked now is done.
	c := controlClient{Client: control.Dial(s.sock)}
	defer c.Close()
	if err := c.scale(ctx, 2); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"stays", "talks", "slow"} {
		if _, err := c.Act(ctx, control.Action{Op: control.OpStart, Name: name, Wait: true}); err != nil {
			t.Errorf("start of %s afterwards: %v", name, err)
		}
	}
	if _, err := c.Act(ctx, control.Action{Op: control.OpStop, Name: "crashes", Wait: true}); err != nil {
		t.Error(err)
	}
	if err := c.reload(ctx, control.ReloadRequest{}); err != nil {
		t.Error(err)
	}
	st := s.awaitStatus("two workers and all companions are up", func(st control.Status) bool {
		return st.State == control.StateRunning && st.Workers.Ready == 2 && len(st.Workers.List) == 2 && allRunning(st)
	})
	if err := consistent(&st, c.last); err != nil {
		t.Error(err)
	}
	if s.journal.printed("\"code\":\"internal\"") {
		t.Error("gofork found a fault of its own")
	}
}

// picture is what can be known of gofork from the snapshot and the events alone.
type picture struct {
	Generation int
	Workers    map[int]string // state, by pid
	Companions map[string]seen
}

// seen is a companion's part; Exits counts, so that an event that is lost or
// comes twice shows.
type seen struct {
	State      string
	PID, Exits int
}

func pictureOf(st *control.Status) picture {
	p := picture{Generation: st.Generation, Workers: map[int]string{}, Companions: map[string]seen{}}
	for _, w := range st.Workers.List {
		p.Workers[w.PID] = w.State
	}
	for _, c := range st.Companions {
		p.Companions[c.ID()] = seen{c.State, c.PID, c.Exits}
	}
	return p
}

// apply brings the picture forward by one event.
func (p *picture) apply(e control.Event) {
	number := func(key string) int {
		n, _ := e.Attrs[key].(float64) // not every event has it
		return int(n)
	}
	pid := number("pid")
	switch e.Event {
	case "reload.done":
		p.Generation = number("generation")
	case "worker.started":
		p.Workers[pid] = control.WorkerBooting
	case "worker.ready":
		p.Workers[pid] = control.WorkerReady
	case "worker.draining":
		p.Workers[pid] = control.WorkerDraining
	case "worker.exited":
		delete(p.Workers, pid)
	}
	name, ok := e.Attrs["companion"].(string)
	if !ok {
		return
	}
	id := control.InstanceID(name, number("instance"))
	c := p.Companions[id]
	switch e.Event {
	case "companion.started":
		c.State, c.PID = control.Starting, pid
	case "companion.running":
		c.State = control.Running
	case "companion.stopping":
		c.State = control.Stopping
	case "companion.exited":
		c.PID, c.Exits = 0, c.Exits+1
	case "companion.backoff":
		c.State = control.Backoff
	case "companion.stopped":
		c.State = control.Stopped
	}
	p.Companions[id] = c
}

func TestEventsAndTheirSnapshotMakeTheStatus(t *testing.T) {
	t.Parallel()
	const instances, followers = 50, 24
	s := start(t, fmt.Sprintf(`
[worker]
command = ["sleep", "1000"]
count = 2
ready_after = "10ms"
[companion_defaults]
startsecs = "20ms"
backoff_initial = "20ms"
[companion.many]
command = ["sleep", "1000"]
numprocs = %d
[companion.last]
command = ["sleep", "1000"]
`, instances))
	s.ready()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	asks := control.Dial(s.sock)
	defer asks.Close()

	// Each follows from another moment of the restarts on until "last" is stopped.
	follow := func() (picture, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		c := control.Dial(s.sock)
		defer c.Close()
		snapshot, events, err := c.Events(ctx)
		if err != nil {
			return picture{}, err
		}
		defer func() {
			cancel()
			for range events { // until its reader has ended
			}
		}()
		p := pictureOf(snapshot)
		var before uint64
		for e := range events {
			if before != 0 && e.Seq != before+1 {
				return p, fmt.Errorf("event %d came after event %d", e.Seq, before)
			}
			before = e.Seq
			p.apply(e)
			if e.Event == "companion.stopped" && e.Attrs["companion"] == "last" {
				return p, nil
			}
		}
		return p, errors.New("the stream ended too early")
	}
	pictures := make([]picture, followers)
	var following, restarting sync.WaitGroup
	begin := make(chan int, instances*2)
	for n := range followers {
		following.Go(func() {
			<-begin
			var err error
			if pictures[n], err = follow(); err != nil {
				t.Errorf("follower %d: %v", n, err)
			}
		})
	}
	for n := 1; n <= instances; n++ {
		restarting.Go(func() {
			ask := control.Action{Op: control.OpRestart, Name: "many", Instance: n, Wait: true}
			if n%5 == 0 { // a crash instead
				ask.Op, ask.Signal = control.OpSignal, "KILL"
			}
			for range 2 {
				begin <- n
				if _, err := asks.Act(ctx, ask); refused(err) != nil {
					t.Errorf("%s of many:%d: %v", ask.Op, n, err)
				}
			}
		})
	}
	if _, err := asks.Reload(ctx, control.ReloadRequest{}); err != nil {
		t.Error(err)
	}
	restarting.Wait()
	s.awaitStatus("all are up again", func(st control.Status) bool {
		return st.State == control.StateRunning && st.Workers.Ready == 2 && len(st.Workers.List) == 2 && allRunning(st)
	})
	if _, err := asks.Act(ctx, control.Action{Op: control.OpStop, Name: "last", Wait: true}); err != nil {
		t.Fatal(err)
	}
	following.Wait()
	st := s.look()
	want := pictureOf(&st)
	for n, got := range pictures {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("follower %d has another picture (-status +events):\n%s", n, diff)
		}
	}
	if ids := slices.Collect(maps.Keys(want.Companions)); len(ids) != instances+1 {
		t.Errorf("the status has %d companions", len(ids))
	}
}
