package metrics

import (
	"strings"
	"sync"

	"github.com/gofork/gofork/pkg/control"
)

// Why a worker ended, or is started again.
const (
	reasonExit     = "exit"     // by itself
	reasonSignal   = "signal"   // killed by one that gofork did not send
	reasonStart    = "start"    // could not be started at all
	reasonBoot     = "boot"     // boot_timeout
	reasonTimeout  = "timeout"  // silent heartbeat
	reasonRecycled = "recycled" // max_requests, max_memory, max_lifetime
	reasonReload   = "reload"
	reasonRollback = "rollback" // of a reload that failed
	reasonScale    = "scale"
	reasonShutdown = "shutdown"
)

var reasons = []string{
	reasonBoot, reasonExit, reasonRecycled, reasonReload, reasonRollback,
	reasonScale, reasonShutdown, reasonSignal, reasonStart, reasonTimeout,
}

// reasonOf puts the reason of an exit record into one of the fixed set.
func reasonOf(reason string) string {
	switch reason {
	case control.ReasonExited:
		return reasonExit
	case "boot_timeout":
		return reasonBoot
	case "reload failed":
		return reasonRollback
	case reasonTimeout, reasonRecycled, reasonReload, reasonScale, reasonShutdown:
		return reason
	}
	if strings.HasPrefix(reason, "killed by ") {
		return reasonSignal
	}
	return reasonStart
}

type workerExit struct {
	reason   string
	expected bool
}

type companionExit struct {
	name     string
	instance int
	expected bool
}

// slot is what has to be remembered of a worker slot to name the reason of a start.
type slot struct {
	living int
	next   string // why the next attempt is started; "" = beside the living one: a reload
}

// Counters count what happens. The zero value is not ready: see [NewCounters]. They
// are safe for concurrent use.
type Counters struct {
	mu sync.Mutex

	slots          map[int]*slot
	workerExits    map[workerExit]uint64
	workerRestarts map[string]uint64
	workerTimeouts map[string]uint64
	workerKills    uint64
	boots          Histogram

	companionExits map[companionExit]uint64
	managerExits   map[bool]uint64

	reloads       map[bool]uint64
	reloadSeconds Histogram

	orphans, hookFailures uint64
}

// NewCounters starts to count.
func NewCounters() *Counters {
	return &Counters{
		slots: map[int]*slot{}, workerExits: map[workerExit]uint64{}, workerRestarts: map[string]uint64{},
		workerTimeouts: map[string]uint64{}, companionExits: map[companionExit]uint64{},
		managerExits: map[bool]uint64{}, reloads: map[bool]uint64{},
		boots:         newHistogram(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
		reloadSeconds: newHistogram(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
	}
}

// Counted says whether Observe looks at the attributes of a manager's event of
// that name.
func Counted(event string) bool {
	return event == "companion.exited" || event == "orphan.reaped"
}

// Observe counts one lifecycle event. Those that nothing counts cost a comparison.
func (c *Counters) Observe(e control.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.Event {
	case "worker.started":
		c.workerStarted(e)
	case "worker.recycled":
		c.slot(e).next = reasonRecycled
	case "worker.ready":
		c.boots.observe(number(e, "boot"))
	case "worker.exited":
		c.workerExited(e)
	case "worker.timeout":
		c.workerTimeouts[word(e, "clock")]++
	case "worker.killed":
		c.workerKills++
	case "companion.exited":
		c.companionExits[companionExit{word(e, "companion"), int(number(e, "instance")), flag(e, "expected")}]++
	case "manager.exited":
		c.managerExits[flag(e, "expected")]++
	case "reload.done", "reload.failed":
		c.reloads[e.Event == "reload.done"]++
		c.reloadSeconds.observe(number(e, "took"))
	case "orphan.reaped":
		c.orphans += uint64(max(1, number(e, "count")))
	case "hook.failed":
		c.hookFailures++
	}
}

func (c *Counters) slot(e control.Event) *slot {
	n := int(number(e, "slot"))
	if c.slots[n] == nil {
		c.slots[n] = &slot{}
	}
	return c.slots[n]
}

// workerStarted counts a start that is not the slot's first. One beside a living
// worker is to replace it; any other replaces one that has ended.
func (c *Counters) workerStarted(e control.Event) {
	s := c.slot(e)
	if number(e, "attempt") > 1 {
		why := s.next
		if why == "" {
			why = reasonReload
		}
		c.workerRestarts[why]++
	}
	s.living++
	s.next = ""
}

func (c *Counters) workerExited(e control.Event) {
	s, reason := c.slot(e), reasonOf(word(e, "reason"))
	c.workerExits[workerExit{reason, flag(e, "expected")}]++
	s.living = max(0, s.living-1) // one that could not be started was not started
	if s.living == 0 && s.next == "" {
		s.next = reason
	}
}

// Attributes are what slog made of them, or what JSON did on the way from the manager.

func number(e control.Event, key string) float64 {
	switch v := e.Attrs[key].(type) {
	case int64:
		return float64(v)
	case int:
		return float64(v)
	case uint64:
		return float64(v)
	case float64:
		return v
	}
	return 0
}

func word(e control.Event, key string) string {
	s, _ := e.Attrs[key].(string)
	return s
}

func flag(e control.Event, key string) bool {
	b, _ := e.Attrs[key].(bool)
	return b
}
