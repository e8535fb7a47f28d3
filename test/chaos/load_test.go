//go:build linux

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofork/gofork/test/bench/load"
)

// patience is how long an answer may take: a stopped arbiter and a hung worker
// are waited for.
const patience = 30 * time.Second

// crowd are the clients of a run.
type crowd struct {
	r        *run
	requests atomic.Int64
	excused  atomic.Int64
	worst    atomic.Int64 // nanoseconds
	wg       sync.WaitGroup
}

// arrive starts n clients; they leave when ctx ends.
func (r *run) arrive(ctx context.Context, n int) *crowd {
	c := &crowd{r: r}
	for i := range n {
		c.wg.Go(func() { c.client(ctx, rand.New(rand.NewPCG(r.seed, uint64(i)))) })
	}
	return c
}

// client asks over one connection at a time, as long as the server keeps it, and
// thinks less than drain_delay in between.
func (c *crowd) client(ctx context.Context, rng *rand.Rand) {
	conn := load.New(c.r.addr, patience)
	defer conn.Close()
	requests := [][]byte{
		load.Get("/"), load.Get("/"), load.Get("/"), load.Get("/pid"),
		load.Get("/sleep?d=30ms"), load.Post("/echo", "the same again"),
	}
	pid := 0 // of the worker that has the connection; 0 = not known
	think := time.NewTimer(0)
	defer think.Stop()
	for {
		think.Reset(time.Duration(rng.IntN(60)) * time.Millisecond)
		select {
		case <-think.C:
		case <-ctx.Done():
			return
		}
		request := requests[rng.IntN(len(requests))]
		from := time.Now()
		a, err := conn.Do(context.Background(), request)
		to := time.Now()
		c.requests.Add(1)
		if !a.Reused {
			pid = 0
		}
		if err == nil && a.Code != http.StatusOK {
			err = fmt.Errorf("status %d: %s", a.Code, bytes.TrimSpace(a.Body))
		}
		if err != nil {
			first, _, _ := bytes.Cut(request, []byte("\r"))
			if c.r.excuses(pid, from, to) {
				c.excused.Add(1)
				c.r.history.add("excused: %s on worker %d: %v", first, pid, err)
			} else {
				c.r.fault("a request failed that nobody's death explains: %s on worker %d (connection reused: %t) after %s: %v",
					first, pid, a.Reused, to.Sub(from).Round(time.Millisecond), err)
			}
			continue
		}
		if took := int64(to.Sub(from)); took > c.worst.Load() {
			c.worst.Store(took)
		}
		if named := workerIn(a.Body); named != 0 {
			pid = named
		}
	}
}

// workerIn reads the pid out of an answer of the hello handler, 0 when there is none.
func workerIn(body []byte) int {
	var slot, pid, generation int
	if _, err := fmt.Sscanf(string(body), "hello from gofork: slot %d pid %d generation %d", &slot, &pid, &generation); err != nil {
		return 0
	}
	return pid
}
