package metrics

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// Picture is what there is at the moment of a scrape.
type Picture struct {
	Status    *control.Status
	Beats     []Beat
	Queues    []Queue
	Requests  *Requests // nil: nobody counts them
	Processes []Process
}

// Beat is the heartbeat of a worker that has sent one.
type Beat struct {
	Slot int
	Age  time.Duration
}

// Queue is the kernel's queue of a listening socket: connections that nobody has
// accepted yet.
type Queue struct {
	Address string
	Slot    int // of a worker that has the socket for itself; 0 = all share it
	Waiting uint64
	Limit   uint64
	Dropped uint64 // since the socket was opened
}

// Requests are those of all handler workers, the dead ones included.
type Requests struct {
	Answered map[string]uint64 // by class: "2xx"; "none" for those that were broken off
	InFlight uint64
	Lost     uint64 // in flight when their worker ended
	Latency  Histogram
}

// Process is one of gofork's processes, or what has one name: the workers of a slot
// while one replaces the other.
type Process struct {
	Role     string // arbiter, manager, worker, companion
	Name     string // of a companion
	Instance int    // of a companion
	Slot     int    // of a worker
	RSS      int64  // bytes
	CPU      time.Duration
	NoCPU    bool // it ended while it was looked at: no value is better than one that falls
}

// Source makes the picture; an error means that there is none.
type Source func(context.Context) (*Picture, error)

// gatherTimeout bounds a scrape: Prometheus gives up after 10 s by default.
const gatherTimeout = 5 * time.Second

// Handler answers GET /metrics.
func Handler(c *Counters, s Source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), gatherTimeout)
		defer cancel()
		p, err := s(ctx)
		if err != nil {
			http.Error(w, "cannot gather metrics: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(c.Text(p)) // a peer that went away needs no answer
	})
}

// Text writes everything.
func (c *Counters) Text(p *Picture) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &text{b: make([]byte, 0, 16<<10)}
	t.whole(p.Status)
	c.reloading(t, p.Status)
	c.workers(t, p)
	requests(t, p.Requests)
	queues(t, p.Queues)
	c.manager(t, p.Status.Manager)
	c.companions(t, p.Status.Companions)
	processes(t, p.Processes)
	t.one("gofork_orphans_reaped_total", counter, "Processes that lost their parent and were reaped by gofork.", float64(c.orphans))
	t.one("gofork_hook_failures_total", counter, "Hooks that failed.", float64(c.hookFailures))
	return t.b
}

func (t *text) whole(s *control.Status) {
	t.one("gofork_build_info", gauge, "Constant 1, with the version of gofork and of Go.", 1,
		"version", s.Version, "goversion", runtime.Version())
	t.one("gofork_start_time_seconds", gauge, "When gofork was started, in seconds since 1970.", unix(s.StartedAt))
	t.family("gofork_state", gauge, "1 for what gofork is doing, 0 for everything else.")
	t.states(s.State, control.StateStarting, control.StateRunning, control.StateReloading, control.StateUpgrading, control.StateStopping)
	t.one("gofork_generation", gauge, "Number of the configuration that serves.", float64(s.Generation))
	t.one("gofork_stop_budget_seconds", gauge, "How long a graceful stop may take.", s.StopBudgetSeconds)
}

// states writes one sample for each state, 1 for the present one.
func (t *text) states(present string, all ...string) { t.labelled(present, nil, all...) }

func (t *text) labelled(present string, labels []string, all ...string) {
	for _, s := range all {
		t.sample(truth(s == present), append(labels[:len(labels):len(labels)], "state", s)...)
	}
}

func (c *Counters) reloading(t *text, s *control.Status) {
	t.family("gofork_reloads_total", counter, "Reloads by their result.")
	t.sample(float64(c.reloads[true]), "result", "ok")
	t.sample(float64(c.reloads[false]), "result", "failed")
	t.family("gofork_reload_duration_seconds", histogram, "How long reloads took.")
	t.histogram(&c.reloadSeconds)
	if s.LastReload != nil {
		t.one("gofork_last_reload_successful", gauge, "1 when the last reload succeeded, 0 when it failed.", truth(s.LastReload.OK))
		t.one("gofork_last_reload_timestamp_seconds", gauge, "When the last reload ended, in seconds since 1970.", unix(s.LastReload.At))
	}
}

func (c *Counters) workers(t *text, p *Picture) {
	s := p.Status
	t.one("gofork_workers_configured", gauge, "Workers that are wanted now, scaling included.", float64(s.Workers.Configured))
	t.one("gofork_workers_ready", gauge, "How many of the wanted workers are ready.", float64(s.Workers.Ready))
	in := map[string]int{}
	for _, w := range s.Workers.List {
		in[w.State]++
	}
	t.family("gofork_workers", gauge, "Workers by state; more than are configured while some are replaced.")
	for _, state := range []string{control.WorkerBooting, control.WorkerReady, control.WorkerDraining, control.WorkerKilling, control.WorkerBackoff} {
		t.sample(float64(in[state]), "state", state)
	}
	t.family("gofork_worker_restarts_total", counter, "Workers that were started in another's place, by why it was replaced.")
	for _, r := range reasons {
		t.sample(float64(c.workerRestarts[r]), "reason", r)
	}
	t.family("gofork_worker_exits_total", counter, "Workers that ended, by reason and whether gofork wanted it.")
	for _, r := range reasons {
		for _, expected := range []bool{false, true} {
			t.sample(float64(c.workerExits[workerExit{r, expected}]), "reason", r, "expected", strconv.FormatBool(expected))
		}
	}
	t.family("gofork_worker_timeouts_total", counter, "Workers that were ended because a clock ran out.")
	for _, clock := range []string{"boot_timeout", "timeout"} {
		t.sample(float64(c.workerTimeouts[clock]), "clock", clock)
	}
	t.one("gofork_worker_kills_total", counter, "Workers that had to be killed.", float64(c.workerKills))
	t.family("gofork_worker_boot_seconds", histogram, "Time from the start of a worker until it was ready.")
	t.histogram(&c.boots)
	if len(p.Beats) > 0 {
		t.family("gofork_worker_heartbeat_age_seconds", gauge, "Time since the last heartbeat of the slot's ready worker.")
		for _, b := range p.Beats {
			t.sample(b.Age.Seconds(), "slot", strconv.Itoa(b.Slot))
		}
	}
}

// classes are in the order in which they are written.
var classes = []string{"1xx", "2xx", "3xx", "4xx", "5xx", NoAnswer}

// NoAnswer is the class of a request whose connection was broken off.
const NoAnswer = "none"

func requests(t *text, r *Requests) {
	if r == nil {
		return
	}
	t.family("gofork_http_requests_total", counter, "Requests that handler workers have ended, by the class of the answer.")
	for _, class := range classes {
		t.sample(float64(r.Answered[class]), "code", class)
	}
	t.one("gofork_http_requests_in_flight", gauge, "Requests that handler workers are answering.", float64(r.InFlight))
	t.one("gofork_http_requests_lost_total", counter, "Requests that were in flight when their worker ended.", float64(r.Lost))
	t.family("gofork_http_request_duration_seconds", histogram, "Time that handlers took for a request.")
	t.histogram(&r.Latency)
}

func queues(t *text, all []Queue) {
	if len(all) == 0 {
		return
	}
	each := func(name string, k kind, help string, value func(Queue) uint64) {
		t.family(name, k, help)
		for _, q := range all {
			t.sample(float64(value(q)), "address", q.Address, "slot", number0(q.Slot))
		}
	}
	each("gofork_listen_queue_connections", gauge, "Connections that wait in the kernel to be accepted.", func(q Queue) uint64 { return q.Waiting })
	each("gofork_listen_queue_limit", gauge, "How many of them may wait.", func(q Queue) uint64 { return q.Limit })
	each("gofork_listen_queue_drops_total", counter, "Connections that the kernel has dropped at the socket, above all for a full queue.", func(q Queue) uint64 { return q.Dropped })
}

func (c *Counters) manager(t *text, m *control.Manager) {
	if m == nil {
		return
	}
	t.family("gofork_manager_state", gauge, "1 for the state of the companion manager, 0 for the others.")
	t.states(m.State, control.ManagerStarting, control.ManagerRunning, control.ManagerStopping, control.ManagerKilling, control.ManagerBackoff, control.ManagerStopped)
	t.one("gofork_manager_restarts_total", counter, "Managers that were started in another's place.", float64(m.Restarts))
	t.family("gofork_manager_exits_total", counter, "Managers that ended, by whether gofork wanted it.")
	for _, expected := range []bool{false, true} {
		t.sample(float64(c.managerExits[expected]), "expected", strconv.FormatBool(expected))
	}
}

func (c *Counters) companions(t *text, all []control.Companion) {
	if len(all) == 0 {
		return
	}
	each := func(name string, k kind, help string, sample func(i *control.Companion, labels []string)) {
		t.family(name, k, help)
		for i := range all {
			sample(&all[i], []string{"companion", all[i].Name, "instance", strconv.Itoa(all[i].Instance)})
		}
	}
	value := func(name string, k kind, help string, of func(i *control.Companion) float64) {
		each(name, k, help, func(i *control.Companion, labels []string) { t.sample(of(i), labels...) })
	}
	each("gofork_companion_state", gauge, "1 for the state of the companion, 0 for the others.", func(i *control.Companion, labels []string) {
		t.labelled(strings.ToLower(i.State), labels, "stopped", "starting", "running", "backoff", "stopping", "exited", "fatal")
	})
	value("gofork_companion_desired", gauge, "1 when the companion is wanted up, 0 when it is not.", func(i *control.Companion) float64 { return truth(i.Desired == control.Up) })
	value("gofork_companion_essential", gauge, "1 when gofork stops without the companion, 0 when it goes on.", func(i *control.Companion) float64 { return truth(i.Essential) })
	value("gofork_companion_restarts_total", counter, "Times that the companion was started again.", func(i *control.Companion) float64 { return float64(i.Restarts) })
	value("gofork_companion_failures", gauge, "Failures of the companion in a row.", func(i *control.Companion) float64 { return float64(i.Failures) })
	value("gofork_companion_stop_kills_total", counter, "Stops of the companion that needed SIGKILL.", func(i *control.Companion) float64 { return float64(i.StopKills) })
	value("gofork_companion_backoff_seconds", gauge, "Time until the companion is started again, 0 when it does not wait.", func(i *control.Companion) float64 {
		if i.NextRetryAt == nil {
			return 0
		}
		return max(0, time.Until(*i.NextRetryAt).Seconds())
	})
	each("gofork_companion_exits_total", counter, "Times that the companion ended, by whether gofork or its configuration wanted it.", func(i *control.Companion, labels []string) {
		for _, expected := range []bool{false, true} {
			n := c.companionExits[companionExit{i.Name, i.Instance, expected}]
			t.sample(float64(n), append(labels[:len(labels):len(labels)], "expected", strconv.FormatBool(expected))...)
		}
	})
}

func processes(t *text, all []Process) {
	labels := func(p *Process) []string {
		return []string{"role", p.Role, "slot", number0(p.Slot), "companion", p.Name, "instance", number0(p.Instance)}
	}
	t.family("gofork_process_resident_memory_bytes", gauge, "Resident memory of gofork's processes: the leaders, not what they start.")
	for i := range all {
		t.sample(float64(all[i].RSS), labels(&all[i])...)
	}
	t.family("gofork_process_cpu_seconds_total", counter, "CPU time of gofork's processes; a slot's goes on over its workers, any other starts again with its process.")
	for i := range all {
		if !all[i].NoCPU {
			t.sample(all[i].CPU.Seconds(), labels(&all[i])...)
		}
	}
}

// number0 is a number as a label, nothing for 0.
func number0(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
