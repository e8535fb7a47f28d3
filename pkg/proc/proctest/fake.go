package proctest

import (
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/proc"
)

// Fake is a simulated proc.System. Its methods may be called from any goroutine,
// so that a test can act and look while the loop runs.
type Fake struct {
	script  func(proc.Command) Script
	changed chan struct{}

	mu      sync.Mutex
	lastPID int
	closed  bool
	all     map[int]*process
	watched map[int]bool
	spared  map[int]bool
	ended   []proc.Exit // not swept yet, in the order of their ends
	starts  []Start
	signals []Sent
}

var _ proc.System = (*Fake)(nil)

// process is one simulated process. Its timers belong to it and are stopped when
// it ends, so that none outlives the bubble.
type process struct {
	pid, pgid int
	own       bool // started by Start: its exit goes to Exits, others' to Orphans
	script    Script
	dead      bool
	rss       int64
	timers    []*time.Timer
}

// Start is one recorded Start, successful or not.
type Start struct {
	PID     int // 0 when it failed
	Command proc.Command
	Err     error
	At      time.Time
}

// Sent is one recorded signal, whether or not anybody was there to get it.
type Sent struct {
	PID    int // the group when Group
	Group  bool
	Signal syscall.Signal
	Err    error
	At     time.Time
}

// New makes a system whose children behave as script says, which is asked once
// for each Start; nil is the zero Script for all. In a synctest bubble it must be
// called inside of it. Close it before the bubble ends.
func New(script func(proc.Command) Script) *Fake {
	if script == nil {
		script = func(proc.Command) Script { return Script{} }
	}
	return &Fake{
		script:  script,
		changed: make(chan struct{}, 1),
		lastPID: 100,
		all:     make(map[int]*process),
		watched: make(map[int]bool),
		spared:  make(map[int]bool),
	}
}

// Close stops every timer. Nothing ends any more.
func (f *Fake) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, p := range f.all {
		p.stopTimers()
	}
}

// Start implements proc.System.
func (f *Fake) Start(c proc.Command) (int, error) {
	s := f.script(c) // before the lock: it may look at the Fake
	f.mu.Lock()
	defer f.mu.Unlock()
	c.Args, c.Env, c.Files = slices.Clone(c.Args), slices.Clone(c.Env), slices.Clone(c.Files)
	if s.StartErr != nil {
		err := fmt.Errorf("cannot start %s: %w", c.Path, s.StartErr)
		f.starts = append(f.starts, Start{Command: c, Err: err, At: time.Now()})
		return 0, err
	}
	pid := f.spawn(s, 0, true)
	f.starts = append(f.starts, Start{PID: pid, Command: c, At: time.Now()})
	return pid, nil
}

// spawn starts a process of group pgid, or, for 0, the leader of a new one with
// its members.
func (f *Fake) spawn(s Script, pgid int, own bool) int {
	f.lastPID++
	p := &process{pid: f.lastPID, pgid: pgid, own: own, script: s}
	if pgid == 0 {
		p.pgid = p.pid
	}
	f.all[p.pid] = p
	for _, m := range s.Members {
		f.spawn(m, p.pgid, false)
	}
	switch {
	case s.Life == AtOnce:
		f.end(p, s.Code, s.Signal)
	case s.Life > 0:
		f.endAfter(p, s.Life, s.Code, s.Signal)
	}
	return p.pid
}

func (f *Fake) endAfter(p *process, d time.Duration, code int, sig syscall.Signal) {
	if f.closed {
		return
	}
	p.timers = append(p.timers, time.AfterFunc(d, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.closed {
			f.end(p, code, sig)
		}
	}))
}

func (f *Fake) end(p *process, code int, sig syscall.Signal) {
	if p.dead {
		return
	}
	p.dead = true
	p.stopTimers()
	exit := proc.Exit{PID: p.pid, Code: code, Signal: sig}
	if sig != 0 {
		exit.Code = -1
	}
	f.ended = append(f.ended, exit)
	f.notify()
}

func (p *process) stopTimers() {
	for _, t := range p.timers {
		t.Stop()
	}
	p.timers = nil
}

func (f *Fake) notify() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// Signal implements proc.System.
func (f *Fake) Signal(pid int, sig syscall.Signal) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	p := f.all[pid] // until it is swept, a dead one too: a zombie takes signals
	if p == nil || !p.own && !f.watched[pid] {
		err = proc.ErrGone
	} else {
		f.deliver(p, sig)
	}
	f.signals = append(f.signals, Sent{PID: pid, Signal: sig, Err: err, At: time.Now()})
	return err
}

// SignalGroup implements proc.System.
func (f *Fake) SignalGroup(pgid int, sig syscall.Signal) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := proc.ErrGone
	leader := f.all[pgid]
	if f.watched[pgid] || leader != nil && leader.own {
		for _, p := range f.members(pgid) {
			err = nil
			f.deliver(p, sig)
		}
	}
	f.signals = append(f.signals, Sent{PID: pgid, Group: true, Signal: sig, Err: err, At: time.Now()})
	return err
}

func (f *Fake) deliver(p *process, sig syscall.Signal) {
	if p.dead {
		return
	}
	switch r := p.script.reaction(sig); {
	case r.Ignore:
	case r.After > 0:
		f.endAfter(p, r.After, r.Code, r.Signal)
	default:
		f.end(p, r.Code, r.Signal)
	}
}

// members returns the processes of a group that were not swept, by pid.
func (f *Fake) members(pgid int) []*process {
	var found []*process
	for _, p := range f.all {
		if p.pgid == pgid {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *process) int { return a.pid - b.pid })
	return found
}

func (f *Fake) groupAlive(pgid int) bool {
	return slices.ContainsFunc(f.members(pgid), func(p *process) bool { return !p.dead })
}

// Changed implements proc.System.
func (f *Fake) Changed() <-chan struct{} { return f.changed }

// Sweep implements proc.System.
func (f *Fake) Sweep() proc.Changes {
	f.mu.Lock()
	defer f.mu.Unlock()
	var changes proc.Changes
	for _, e := range f.ended {
		p := f.all[e.PID]
		delete(f.all, e.PID)
		if !p.own {
			changes.Orphans = append(changes.Orphans, e)
			continue
		}
		e.GroupAlive = f.groupAlive(p.pgid)
		changes.Exits = append(changes.Exits, e)
	}
	f.ended = nil
	for pgid := range f.watched {
		if !f.groupAlive(pgid) {
			delete(f.watched, pgid)
			changes.Gone = append(changes.Gone, pgid)
		}
	}
	slices.Sort(changes.Gone)
	for _, e := range changes.Exits {
		if e.GroupAlive {
			f.watched[e.PID] = true
		}
	}
	return changes
}

// Watch implements proc.System.
func (f *Fake) Watch(pgid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.groupAlive(pgid) {
		return false
	}
	if leader := f.all[pgid]; leader == nil || !leader.own {
		f.watched[pgid] = true
	}
	return true
}

// Descendants implements proc.System.
func (f *Fake) Descendants() []int {
	live := f.Live()
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(live, func(pid int) bool { return f.spared[pid] })
}

// RSS implements proc.System; see SetRSS.
func (f *Fake) RSS(pid int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.all[pid]; p != nil && !p.dead {
		return p.rss, nil
	}
	return 0, fmt.Errorf("cannot read the memory of process %d: %w", pid, proc.ErrGone)
}

// SetRSS sets what RSS returns for a process, in bytes.
func (f *Fake) SetRSS(pid int, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.all[pid]; p != nil {
		p.rss = bytes
	}
}

// Exit makes a live process end now with that code, as if by itself.
func (f *Fake) Exit(pid, code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.all[pid]; p != nil {
		f.end(p, code, 0)
	}
}

// Kill delivers a signal from outside of the supervisor; it is not recorded.
func (f *Fake) Kill(pid int, sig syscall.Signal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.all[pid]; p != nil {
		f.deliver(p, sig)
	}
}

// Adopt adds a process that was not started here, leader of its own group: a
// companion of a manager that was killed. It returns its pid.
func (f *Fake) Adopt(s Script) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.spawn(s, 0, false)
}

// Live returns the pids of all processes that have not ended, in order.
func (f *Fake) Live() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	pids := make([]int, 0, len(f.all))
	for pid, p := range f.all {
		if !p.dead {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// Starts returns every Start so far, in order.
func (f *Fake) Starts() []Start {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.starts)
}

// Signals returns every signal sent through the System so far, in order.
func (f *Fake) Signals() []Sent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.signals)
}

// SignalsTo returns the signals that were sent to a process or to its group, in
// order and without their times.
func (f *Fake) SignalsTo(pid int) []syscall.Signal {
	var sigs []syscall.Signal
	for _, s := range f.Signals() {
		if s.PID == pid {
			sigs = append(sigs, s.Signal)
		}
	}
	return sigs
}

// AssertNothingLives fails the test when a process has not ended, or when an end
// was never swept.
func (f *Fake) AssertNothingLives(t testing.TB) {
	t.Helper()
	if live := f.Live(); len(live) > 0 {
		t.Errorf("processes live on: %v", live)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.ended {
		t.Errorf("process %d was never reaped: %s", e.PID, e)
	}
}
