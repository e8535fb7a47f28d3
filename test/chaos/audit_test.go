//go:build linux

package chaos

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/test/bench/ps"
)

// calm is how long gofork may take to come to rest: a manager that was killed
// twice in a row waits for seconds, a worker too.
const calm = 60 * time.Second

// quiet ends everything that was done, returns to a configuration, and waits
// until gofork is at rest and every story is the same.
func (r *run) quiet(c configuration) (*control.Status, error) {
	r.doing.Wait()
	r.release()
	r.write(c)
	ctx, cancel := ask()
	defer cancel()
	if _, err := r.status(); err != nil {
		return nil, err
	}
	if _, err := r.control.Scale(ctx, control.ScaleRequest{Workers: &c.workers}); err != nil && !refused(err) {
		return nil, fmt.Errorf("scale: %w", err)
	}
	deadline := time.Now().Add(calm)
	if err := r.settleReload(deadline); err != nil {
		return nil, err
	}
	var why string
	for time.Now().Before(deadline) {
		st, err := r.status()
		if err != nil {
			return nil, err
		}
		if why = r.unrest(st, c); why == "" {
			r.measure(st)
			return st, nil
		}
		pause(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("gofork does not come to rest within %s: %s", calm, why)
}

// settleReload reloads until it is taken up. It may be refused as long as
// workers wait after the many deaths before.
func (r *run) settleReload(deadline time.Time) error {
	for {
		ctx, cancel := ask()
		res, err := r.control.Reload(ctx, control.ReloadRequest{})
		cancel()
		if err == nil && res.OK {
			return nil
		}
		r.history.add("the reload for quiet: %+v %v", res, err)
		if time.Now().After(deadline) {
			return fmt.Errorf("cannot reload what has to be taken up: %w", err)
		}
		pause(300 * time.Millisecond)
	}
}

// refused reports whether gofork said that it is not the moment.
func refused(err error) bool {
	var e *control.Error
	return errors.As(err, &e) && (e.Status == http.StatusConflict || e.Status == http.StatusServiceUnavailable)
}

// release undoes what lasts: stopped processes go on, the disk has room.
func (r *run) release() {
	for _, p := range r.marked() {
		if p.State == 'T' {
			// ESRCH: it was killed as it was.
			_ = r.send(p.PID, unix.SIGCONT)
		}
	}
	if err := os.Remove(filepath.Join(r.full, "filler")); err != nil && !os.IsNotExist(err) {
		r.t.Error(err)
	}
}

// unrest says why the picture is not the one of a gofork at rest, "" when it is.
func (r *run) unrest(st *control.Status, c configuration) string {
	if st.State != control.StateRunning || st.Workers.Configured != c.workers || st.Workers.Ready != c.workers || len(st.Workers.List) != c.workers {
		return fmt.Sprintf("state %s, %d workers wanted, %d ready, %d there", st.State, st.Workers.Configured, st.Workers.Ready, len(st.Workers.List))
	}
	if st.PID != r.master() {
		return fmt.Sprintf("arbiter %d answers, want %d", st.PID, r.master())
	}
	if st.Manager == nil || st.Manager.State != control.ManagerRunning {
		return fmt.Sprintf("the manager is %+v", st.Manager)
	}
	if want := c.guards + 4; len(st.Companions) != want {
		return fmt.Sprintf("%d companions, want %d", len(st.Companions), want)
	}
	for _, one := range st.Companions {
		if one.State != control.Running && !isRestless(one.Name) {
			return fmt.Sprintf("companion %s is %s: %s", one.ID(), one.State, one.Description)
		}
	}
	if why := r.told.differs(st); why != "" {
		return why
	}
	return r.strangers(st)
}

// strangers compares the status with /proc: everybody is where he belongs, and
// nobody else is there.
func (r *run) strangers(st *control.Status) string {
	parent := map[int]int{st.Manager.PID: st.PID}
	for _, w := range st.Workers.List {
		parent[w.PID] = st.PID
	}
	restless := 0
	for _, one := range st.Companions {
		if one.Name == "restless" {
			restless = one.PID
		} else {
			parent[one.PID] = st.Manager.PID
		}
	}
	seen := map[int]bool{}
	for _, p := range r.marked() {
		want, known := parent[p.PID]
		switch {
		case known && p.PPID != want:
			return fmt.Sprintf("%v has a parent other than %d", p, want)
		case known:
			seen[p.PID] = true
		case p.PID == st.PID, p.PID == restless, p.PPID == st.Manager.PID && strings.Contains(commandLine(p.PID), "restless"):
		case parent[p.PPID] == st.Manager.PID && strings.Contains(commandLine(p.PID), "hold"): // the child of family
		default:
			return fmt.Sprintf("nobody knows %v: %s", p, commandLine(p.PID))
		}
	}
	for pid := range parent {
		if !seen[pid] {
			return fmt.Sprintf("the status shows process %d, which is not there", pid)
		}
	}
	for _, parent := range []int{st.PID, st.Manager.PID} {
		for _, p := range ps.Children(parent) {
			if p.State == 'Z' {
				return fmt.Sprintf("%v is not reaped", p)
			}
		}
	}
	return ""
}

func commandLine(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(strings.TrimRight(string(data), "\x00"), "\x00", " ")
}

// resources are what must not grow.
type resources struct {
	open    []string // what descriptors point to, without numbers that differ
	threads int
	own     int64 // heap and stacks
}

// measure compares a supervisor at rest with the first time that it was.
func (r *run) measure(st *control.Status) {
	for role, pid := range map[string]int{"arbiter": st.PID, "manager": st.Manager.PID} {
		now, err := resourcesOf(pid)
		if err != nil {
			r.fault("%s %d: %v", role, pid, err)
			continue
		}
		first, ok := r.baseline[role]
		if !ok {
			r.baseline[role] = now
			continue
		}
		for deadline := time.Now().Add(settled); now.own > first.own+someMemory() && time.Now().Before(deadline); {
			pause(250 * time.Millisecond)
			if now.own, err = ps.Anonymous(pid); err != nil {
				r.fault("%s %d: %v", role, pid, err)
				break
			}
		}
		r.history.add("%s %d: %d descriptors, %d threads, %d KiB; at first %d, %d, %d", role, pid,
			len(now.open), now.threads, now.own>>10, len(first.open), first.threads, first.own>>10)
		if len(now.open) > len(first.open)+fewDescriptors {
			r.fault("%s %d has %d descriptors, at first it had %d:\n%s\nat first\n%s", role, pid, len(now.open), len(first.open),
				strings.Join(now.open, "\n"), strings.Join(first.open, "\n"))
		}
		if now.threads > first.threads+fewThreads {
			r.fault("%s %d has %d threads, at first it had %d", role, pid, now.threads, first.threads)
		}
		if now.own > first.own+someMemory() {
			r.fault("%s %d has %d KiB of its own, at first it had %d", role, pid, now.own>>10, first.own>>10)
		}
		// The first may have been before a collection.
		first.own = min(first.own, now.own)
		r.baseline[role] = first
	}
}

// What may come and go at rest: a connection that was just answered; threads that
// the Go runtime keeps; its heap between two collections.
const (
	fewDescriptors = 2
	fewThreads     = 6
)

// The race detector's shadow is some times what it shadows, and never given back.
func someMemory() int64 {
	if raceEnabled {
		return 256 << 20
	}
	return 8 << 20
}

// settled is when a gofork that is never quiet has its memory of every day: it
// collects none before it was quiet once, or ten seconds have passed.
const settled = 12 * time.Second

func resourcesOf(pid int) (res resources, err error) {
	open, err := ps.Descriptors(pid)
	if err != nil {
		return res, err
	}
	for fd, target := range open {
		res.open = append(res.open, fmt.Sprintf("%3d %s", fd, target))
	}
	slices.Sort(res.open)
	if res.threads, err = ps.Threads(pid); err != nil {
		return res, err
	}
	res.own, err = ps.Anonymous(pid)
	return res, err
}

// nobodyTwice reads what instances wrote that found their lock taken.
func (r *run) nobodyTwice() {
	files, err := filepath.Glob(filepath.Join(r.dir, "*.twice"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			r.t.Fatal(err)
		}
		r.fault("two of one instance lived at a time: %s", data)
		if err := os.Remove(f); err != nil {
			r.t.Fatal(err)
		}
	}
}

// nothingLeft checks what a gofork leaves that has ended: nothing.
func (r *run) nothingLeft() {
	for _, p := range r.marked() {
		r.fault("left running: %v: %s", p, commandLine(p.PID))
	}
	r.nobodyTwice()
}

// reaping looks until the channel is closed for children that ended and that
// their supervisor does not reap, though it runs.
func (r *run) reaping(done <-chan struct{}) {
	const patient = 10 * time.Second
	since := map[ps.Process]time.Time{}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-done:
			return
		}
		r.adopted()
		all := ps.All()
		state := map[int]byte{}
		mine := map[int]bool{}
		for _, p := range all {
			state[p.PID] = p.State
			mine[p.PID] = ps.Environ(p.PID, markEnv) == r.id
		}
		now := map[ps.Process]time.Time{}
		for _, p := range all {
			if p.State != 'Z' || !mine[p.PPID] || state[p.PPID] == 'T' {
				continue
			}
			now[p] = time.Now()
			if at, ok := since[p]; ok {
				now[p] = at
				if time.Since(at) > patient {
					r.fault("not reaped for %s: %v", patient, p)
					now[p] = time.Now()
				}
			}
		}
		since = now
	}
}
