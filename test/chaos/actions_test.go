//go:build linux

package chaos

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/control"
)

// action is one thing that may happen.
type action struct {
	name   string
	weight int
	rest   time.Duration // at least between two of them
	do     func(*run)
}

// actions are what happens to a gofork that is to go on. The rests keep delays
// from growing: who dies again and again is rightly started late.
func actions() []action {
	return []action{
		{"kill worker", 8, 3 * time.Second, (*run).killWorker},
		{"hang worker", 2, 15 * time.Second, (*run).hangWorker},
		{"stop worker for a while", 6, time.Second, (*run).pauseWorker},
		{"kill companion", 8, 0, (*run).killCompanion},
		{"stop companion for a while", 4, 0, (*run).pauseCompanion},
		{"kill manager", 3, 20 * time.Second, (*run).killManager},
		{"stop manager for a while", 3, 3 * time.Second, (*run).pauseManager},
		{"stop arbiter for a while", 3, 3 * time.Second, (*run).pauseArbiter},
		{"stop arbiter for longer than a heartbeat", 1, 30 * time.Second, (*run).pauseArbiterLong},
		{"reload", 6, 0, (*run).goodReload},
		{"broken reload", 6, 0, (*run).brokenReload},
		{"scale", 6, 0, (*run).scale},
		{"upgrade", 4, 6 * time.Second, (*run).upgrade},
		{"act on companion", 6, 0, (*run).actOnCompanion},
		{"reopen", 3, 0, (*run).reopen},
		{"no descriptors", 3, 4 * time.Second, (*run).starve},
		{"full disk", 3, 4 * time.Second, (*run).fillDisk},
		{"set the clock", 3, time.Second, (*run).moveClock},
	}
}

// act does something.
func (r *run) act() {
	var total int
	var possible []action
	for _, a := range actions() {
		if time.Since(r.lastDid[a.name]) >= a.rest {
			possible = append(possible, a)
			total += a.weight
		}
	}
	n := r.rng.IntN(total)
	for _, a := range possible {
		if n -= a.weight; n < 0 {
			r.history.add("%s", a.name)
			r.did[a.name]++
			r.lastDid[a.name] = time.Now()
			a.do(r)
			return
		}
	}
}

// beside does something that takes its time, while others happen.
func (r *run) beside(f func()) { r.doing.Go(f) }

// aWorker returns a random worker that has a process, 0 when there is none.
func (r *run) aWorker() int {
	st, err := r.status()
	if err != nil {
		r.fault("no status: %v", err)
		return 0
	}
	var pids []int
	for _, w := range st.Workers.List {
		if w.PID != 0 {
			pids = append(pids, w.PID)
		}
	}
	return r.oneOf(pids)
}

func (r *run) aCompanion() int {
	st, err := r.status()
	if err != nil {
		r.fault("no status: %v", err)
		return 0
	}
	var pids []int
	for _, c := range st.Companions {
		if c.PID != 0 {
			pids = append(pids, c.PID)
		}
	}
	return r.oneOf(pids)
}

func (r *run) aManager() int {
	st, err := r.status()
	if err != nil {
		r.fault("no status: %v", err)
		return 0
	}
	if st.Manager == nil {
		return 0
	}
	return st.Manager.PID
}

func (r *run) oneOf(pids []int) int {
	if len(pids) == 0 {
		return 0
	}
	return pids[r.rng.IntN(len(pids))]
}

// kill notes the wound before it strikes, so that no consequence comes first.
func (r *run) kill(pid int) {
	if pid == 0 {
		return
	}
	r.wound(pid)
	r.history.add("SIGKILL to %d: %v", pid, r.send(pid, unix.SIGKILL))
}

func (r *run) killWorker()    { r.kill(r.aWorker()) }
func (r *run) killCompanion() { r.kill(r.aCompanion()) }
func (r *run) killManager()   { r.kill(r.aManager()) }

// hangWorker is for the heartbeat to find out.
func (r *run) hangWorker() {
	if pid := r.aWorker(); pid != 0 {
		r.wound(pid)
		r.history.add("SIGSTOP to %d, for ever: %v", pid, r.halt(pid, unix.SIGSTOP))
	}
}

func (r *run) pauseWorker()    { r.pause(r.aWorker(), 1500*time.Millisecond) }
func (r *run) pauseCompanion() { r.pause(r.aCompanion(), 3*time.Second) }
func (r *run) pauseManager()   { r.pause(r.aManager(), 2*time.Second) }
func (r *run) pauseArbiter()   { r.pause(r.master(), 2*time.Second) }

// Heartbeats that came while the arbiter stood still count.
func (r *run) pauseArbiterLong() { r.pauseFor(r.master(), beat+2*time.Second) }

// pause stops a process and lets it go on. What hangs for ever is not meant: it
// would go on, too, and excuse what it must not.
func (r *run) pause(pid int, most time.Duration) {
	r.pauseFor(pid, r.between(10*time.Millisecond, most))
}

func (r *run) pauseFor(pid int, d time.Duration) {
	if pid == 0 {
		return
	}
	r.mu.Lock()
	_, hurt := r.hurt[pid]
	r.disturbed++
	r.mu.Unlock()
	if hurt {
		return
	}
	r.history.add("SIGSTOP to %d for %s: %v", pid, d, r.halt(pid, unix.SIGSTOP))
	r.beside(func() {
		pause(d)
		r.history.add("SIGCONT to %d: %v", pid, r.halt(pid, unix.SIGCONT))
	})
}

// halt sends SIGSTOP or SIGCONT while nobody else does.
func (r *run) halt(pid int, sig unix.Signal) error {
	r.stopping.Lock()
	defer r.stopping.Unlock()
	return r.send(pid, sig)
}

// moveClock sets the clock of whoever is gofork, back or forward by up to two days.
func (r *run) moveClock() {
	by := r.between(-48*time.Hour, 48*time.Hour)
	err := r.setClock(by)
	r.history.add("the clock is set by %s: %v", by, err)
}

// disturbances is how much happened that may make a good reload fail.
func (r *run) disturbances() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.disturbed
}

func (r *run) goodReload() {
	if !r.reloading.TryLock() {
		return
	}
	c := r.better()
	before := r.disturbances()
	r.write(c)
	r.beside(func() {
		defer r.reloading.Unlock()
		res, err := r.reload()
		if before == r.disturbances() && (err != nil || !res.OK) {
			r.fault("a good reload failed though nothing happened meanwhile: %+v, %v", res, err)
		}
	})
}

func (r *run) reload() (*control.Reload, error) {
	ctx, cancel := ask()
	defer cancel()
	res, err := r.control.Reload(ctx, control.ReloadRequest{})
	r.history.add("reloaded: %+v, %v", res, err)
	return res, err
}

func (r *run) brokenReload() {
	if !r.reloading.TryLock() {
		return
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	c, how := r.broken(taken.Addr().String())
	r.history.add("broken: %s", how)
	r.spoil(1)
	r.write(c)
	r.beside(func() {
		defer r.reloading.Unlock()
		defer r.spoil(-1)
		defer taken.Close()
		res, err := r.reload()
		if err == nil && res.OK {
			r.fault("a broken reload (%s) was taken up: %+v", how, res)
		}
		r.write(baseConfig()) // who upgrades meets a file that can be read
		pause(500 * time.Millisecond)
	})
}

// spoil says that workers may fail to boot now.
func (r *run) spoil(by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spoilt += by
	r.disturbed++
}

func (r *run) scale() {
	r.mu.Lock()
	r.disturbed++
	r.mu.Unlock()
	switch n := 2 + r.rng.IntN(5); r.rng.IntN(3) {
	case 0:
		r.history.add("TTIN: %v", r.send(r.master(), unix.SIGTTIN))
	case 1:
		r.history.add("TTOU: %v", r.send(r.master(), unix.SIGTTOU))
	default:
		r.beside(func() {
			ctx, cancel := ask()
			defer cancel()
			_, err := r.control.Scale(ctx, control.ScaleRequest{Workers: &n})
			r.history.add("scaled to %d: %v", n, err)
		})
	}
}

func (r *run) reopen() { r.history.add("USR1: %v", r.send(r.master(), unix.SIGUSR1)) }

func (r *run) actOnCompanion() {
	names := []string{"guard", "family", "stubborn", "spew"}
	name := names[r.rng.IntN(len(names))]
	op := []string{control.OpRestart, control.OpStop, control.OpStart}[r.rng.IntN(3)]
	r.beside(func() {
		ctx, cancel := ask()
		defer cancel()
		_, err := r.control.Act(ctx, control.Action{Op: op, Name: name, Wait: true})
		r.history.add("%s %s: %v", op, name, err)
		if op == control.OpStop { // nothing stays down
			for range 50 {
				_, err = r.control.Act(ctx, control.Action{Op: control.OpStart, Name: name, Wait: true})
				if err == nil || ctx.Err() != nil {
					break
				}
				pause(200 * time.Millisecond)
			}
			r.history.add("start %s: %v", name, err)
		}
	})
}

// starve takes a supervisor every further descriptor for a moment, in which
// somebody dies whom it would like to replace.
func (r *run) starve() {
	pid, victim := r.master(), r.aCompanion
	if r.rng.IntN(2) == 0 {
		victim = r.aWorker
	}
	if r.rng.IntN(2) == 0 {
		pid, victim = r.aManager(), r.aCompanion
	}
	dead := victim()
	if pid == 0 {
		return
	}
	r.spoil(1) // before it strikes
	// All numbers below are in use, so none is free.
	before, err := r.limit(pid, unix.RLIMIT_NOFILE, 5)
	if err != nil {
		r.spoil(-1)
		r.history.add("cannot limit %d: %v", pid, err) // it has just ended
		return
	}
	r.history.add("no descriptors for %d", pid)
	r.kill(dead)
	pause(r.between(50*time.Millisecond, 800*time.Millisecond))
	_, err = r.limit(pid, unix.RLIMIT_NOFILE, before)
	r.history.add("descriptors for %d: %v", pid, err)
	r.beside(func() {
		defer r.spoil(-1)
		pause(500 * time.Millisecond) // the log is read a little later
	})
}

// fillDisk leaves no room for captured logs for a while.
func (r *run) fillDisk() {
	if !r.disk {
		return
	}
	d := r.between(200*time.Millisecond, 2*time.Second)
	r.beside(func() { r.keepDiskFull(d) })
}

// upgrade starts a new arbiter beside the old one, and ends one of them.
func (r *run) upgrade() {
	if !r.reloading.TryLock() {
		return
	}
	r.write(baseConfig())
	backOut := r.rng.IntN(3) == 0
	together := r.between(0, 2*time.Second)
	old := r.master()
	r.mu.Lock()
	r.disturbed++
	r.mu.Unlock()
	failed := r.history.count("upgrade.failed")
	r.history.add("USR2: %v", r.send(old, unix.SIGUSR2))
	r.beside(func() {
		defer r.reloading.Unlock()
		young := r.sibling(old, failed)
		if young == 0 {
			r.history.add("no new arbiter came")
			return
		}
		pause(together)
		if backOut {
			r.history.add("backing out: SIGTERM to %d: %v", young, r.send(young, unix.SIGTERM))
			r.gone(young)
			return
		}
		r.history.add("SIGTERM to the old arbiter %d: %v", old, r.send(old, unix.SIGTERM))
		r.gone(old)
		r.mu.Lock()
		r.arbiter = young
		r.mu.Unlock()
		if st, err := r.status(); err != nil || st.PID != young {
			r.awaitPromotion(young)
		}
	})
}

// sibling waits until a new arbiter serves beside the old one; 0 when the log
// says that none will.
func (r *run) sibling(old, failed int) int {
	client := control.Dial(r.sock + ".2")
	defer client.Close()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		st, err := client.Status(ctx)
		cancel()
		if err == nil && st.PID != old && st.Workers.Ready == st.Workers.Configured {
			return st.PID
		}
		if r.history.count("upgrade.failed") > failed {
			return 0
		}
		pause(50 * time.Millisecond)
	}
	r.fault("no new arbiter serves %s after SIGUSR2, and the log does not say why", patience)
	return 0
}

// gone waits for the end of an arbiter and expects it to have been clean.
func (r *run) gone(pid int) {
	if pid == r.cmd.Process.Pid {
		select {
		case <-r.exited:
			if code := r.cmd.ProcessState.ExitCode(); code != 0 {
				r.fault("the old arbiter ended with %s", r.cmd.ProcessState)
			}
		case <-time.After(patience):
			r.fault("the old arbiter %d still runs %s after SIGTERM", pid, patience)
		}
		return
	}
	deadline := time.Now().Add(patience)
	for r.send(pid, 0) == nil {
		if time.Now().After(deadline) {
			r.fault("the arbiter %d still runs %s after SIGTERM", pid, patience)
			return
		}
		pause(20 * time.Millisecond)
	}
}

func (r *run) awaitPromotion(young int) {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		st, err := r.control.Status(ctx)
		cancel()
		if err == nil && st.PID == young {
			return
		}
		pause(20 * time.Millisecond)
	}
	r.fault("the new arbiter %d does not answer at the old one's socket", young)
}

// finish stops gofork and checks what is left.
func (r *run) finish() {
	pid := r.master()
	if err := r.send(pid, syscall.SIGTERM); err != nil {
		r.fault("cannot stop gofork: %v", err)
		return
	}
	r.gone(pid)
	r.nothingLeft()
	if _, err := os.Lstat(r.sock); !errors.Is(err, os.ErrNotExist) {
		r.fault("the control socket was left: %v", err)
	}
}
