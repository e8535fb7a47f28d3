package load

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Plan is a load. Rate 0 is as fast as the connections can.
type Plan struct {
	Addr    string
	Path    string
	Conns   int
	Rate    float64 // requests a second, all connections together
	Timeout time.Duration
	// Each, if set, is told of every request, by all connections at the same time.
	Each func(Sample)
}

// Sample is one request.
type Sample struct {
	Due  time.Time // when it was to be sent; it may have waited for the answer before
	Took time.Duration
	Err  error
}

// Result is what a load met.
type Result struct {
	Requests  int
	Failed    int
	Errors    []string // the first few
	Elapsed   time.Duration
	latencies []time.Duration // of what was answered, ascending
}

// maxErrors bounds what is kept of failures.
const maxErrors = 10

// PerSecond is how many requests were answered in a second.
func (r *Result) PerSecond() float64 {
	return float64(r.Requests-r.Failed) / r.Elapsed.Seconds()
}

// Quantile is the latency that a share q (0 … 1) of the answers did not exceed.
func (r *Result) Quantile(q float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	return r.latencies[min(int(q*float64(len(r.latencies))), len(r.latencies)-1)]
}

// Worst is the longest latency.
func (r *Result) Worst() time.Duration { return r.Quantile(1) }

// Run asks until ctx ends, and returns when the last answer has come.
func Run(ctx context.Context, p Plan) *Result {
	all := make([]Result, p.Conns)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i].ask(ctx, p, began, i) })
	}
	wg.Wait()
	sum := &Result{Elapsed: time.Since(began)}
	for i := range all {
		sum.Requests += all[i].Requests
		sum.Failed += all[i].Failed
		sum.Errors = append(sum.Errors, all[i].Errors...)
		sum.latencies = append(sum.latencies, all[i].latencies...)
	}
	sum.Errors = sum.Errors[:min(len(sum.Errors), maxErrors)]
	slices.Sort(sum.latencies)
	return sum
}

// ask is the life of the i-th connection.
func (r *Result) ask(ctx context.Context, p Plan, began time.Time, i int) {
	conn := New(p.Addr, p.Timeout)
	defer conn.Close()
	request := Get(p.Path)
	var every time.Duration
	due := began
	if p.Rate > 0 {
		every = time.Duration(float64(time.Second) * float64(p.Conns) / p.Rate)
		due = began.Add(every * time.Duration(i) / time.Duration(p.Conns)) // not all at once
	}
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for ctx.Err() == nil {
		if every > 0 {
			timer.Reset(time.Until(due))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		} else {
			due = time.Now()
		}
		// A request that was begun is not given up when the time is over.
		a, err := conn.Do(context.WithoutCancel(ctx), request)
		took := time.Since(due)
		r.Requests++
		if err == nil && a.Code != http.StatusOK {
			err = fmt.Errorf("status %d", a.Code)
		}
		if p.Each != nil {
			p.Each(Sample{Due: due, Took: took, Err: err})
		}
		due = due.Add(every)
		if err != nil {
			r.Failed++
			if len(r.Errors) < maxErrors {
				r.Errors = append(r.Errors, err.Error())
			}
			continue
		}
		r.latencies = append(r.latencies, took)
	}
}
