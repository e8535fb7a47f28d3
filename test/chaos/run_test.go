//go:build linux

package chaos

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	rnd "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/test/bench/ps"
)

// otherUser is who gofork is when the test is root: limits on the number of
// processes do not hold root back.
const otherUser = 54321

// run is one gofork under chaos. The fields above mu belong to the goroutine
// that acts; rng is asked by nobody else, so that a seed repeats the choices.
type run struct {
	t    *testing.T
	seed uint64
	rng  *rnd.Rand
	id   string // value of markEnv
	dir  string
	full string // the directory of captured logs; on a small disk of its own when it could be mounted
	disk bool   // it was
	addr string
	sock string
	bin  programs

	cmd      *exec.Cmd
	exited   chan struct{} // closed when the first arbiter was reaped
	history  *history
	told     *story
	control  *control.Client
	readers  sync.WaitGroup
	doing    sync.WaitGroup // actions that go on beside others
	did      map[string]int
	lastDid  map[string]time.Time
	baseline map[string]resources

	reloading sync.Mutex // one at a time: reload, upgrade
	stopping  sync.Mutex // who sends SIGSTOP or SIGCONT, so that what is stopped stays so for him

	mu        sync.Mutex
	arbiter   int // pid of the one that serves
	hurt      map[int]time.Time
	wasReady  map[int]bool
	spoilt    int // broken reloads, limits: a boot may fail meanwhile
	disturbed int // rises with each thing that may make a good reload fail
	faults    int
}

// maxFaults bounds what one run says.
const maxFaults = 20

// fault is a broken promise.
func (r *run) fault(format string, args ...any) {
	r.t.Helper()
	line := fmt.Sprintf(format, args...)
	r.history.add("FAULT %s", line)
	r.mu.Lock()
	r.faults++
	n := r.faults
	r.mu.Unlock()
	if n <= maxFaults {
		r.t.Error(line)
	}
}

// wound notes that a process is about to be killed, or to hang until it is.
func (r *run) wound(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hurt[pid] = time.Now()
	r.disturbed++
}

// hung is how long a worker that was stopped lives: timeout + abort_grace, and
// what a busy machine adds.
const hung = 15 * time.Second

// excuses reports whether the death of a worker explains that a request failed.
// A connection whose worker is not known yet may have been that of any that died
// meanwhile.
func (r *run) excuses(pid int, from, to time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.hurt[pid]; ok {
		return true
	}
	if pid != 0 {
		return false
	}
	for _, at := range r.hurt {
		if at.Before(to) && from.Before(at.Add(hung)) {
			return true
		}
	}
	return false
}

// judge holds a log record against what was done.
func (r *run) judge(e entry) {
	if !r.explained(e) {
		r.fault("an exit that nobody caused: %s %s pid %d", e.Event, e.Companion, e.PID)
	}
}

func (r *run) explained(e entry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Event {
	case "worker.ready":
		r.wasReady[e.PID] = true
	case "worker.exited", "companion.exited", "manager.exited":
		_, hurt := r.hurt[e.PID]
		return e.Expected == nil || *e.Expected || hurt || isRestless(e.Companion) ||
			r.spoilt > 0 && (e.PID == 0 || e.Event == "worker.exited" && !r.wasReady[e.PID]) // did not start; did not boot
	}
	return true
}

// newRun starts gofork and waits until all of it is up.
func newRun(t *testing.T, seed uint64) *run {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	r := &run{
		t: t, seed: seed, rng: rnd.New(rnd.NewPCG(seed, math.MaxUint64)), id: rand.Text(), bin: bin,
		exited: make(chan struct{}), did: map[string]int{}, lastDid: map[string]time.Time{},
		hurt: map[int]time.Time{}, wasReady: map[int]bool{}, baseline: map[string]resources{},
	}
	if r.history, err = newHistory(); err != nil {
		t.Fatal(err)
	}
	r.dir, err = os.MkdirTemp("", "chaos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.clean)
	r.addr, r.sock = freeAddr(t), filepath.Join(r.dir, "run", "app.sock")
	r.prepareDisk()
	r.write(baseConfig())
	attr := &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: otherUser, Gid: otherUser}
		for _, path := range []string{r.dir, r.full} {
			if err := os.Chown(path, otherUser, otherUser); err != nil {
				t.Fatal(err)
			}
		}
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd = exec.Command(bin.gofork, "serve", "-c", r.file())
	r.cmd.Dir, r.cmd.SysProcAttr = r.dir, attr
	r.cmd.Env = append(cleanEnv(), markEnv+"="+r.id, "HOME="+r.dir)
	r.cmd.Stdout, r.cmd.Stderr = out, out
	r.history.add("seed %d: gofork serve", seed)
	err = r.cmd.Start()
	out.Close()
	if err != nil {
		in.Close()
		t.Fatal(err)
	}
	r.arbiter = r.cmd.Process.Pid
	r.readers.Go(func() {
		defer in.Close()
		r.history.follow(in, r.judge, func(line string) { r.fault("gofork or a child printed %q", line) })
	})
	go func() {
		_ = r.cmd.Wait() // how it ended is read from ProcessState
		close(r.exited)
	}()
	r.control = control.Dial(r.sock)
	r.told = r.listen()
	if _, err := r.quiet(baseConfig()); err != nil {
		t.Fatalf("gofork does not come up: %v\n%s", err, r.history)
	}
	return r
}

func (r *run) file() string { return filepath.Join(r.dir, "app.toml") }

// prepareDisk mounts a small disk for captured logs where that is allowed.
func (r *run) prepareDisk() {
	r.full = filepath.Join(r.dir, "logs")
	if err := os.Mkdir(r.full, 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(r.dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", r.full, "tmpfs", 0, "size=2m"); err != nil {
		r.t.Logf("no full disk in this run: cannot mount a small one: %v", err)
		return
	}
	r.disk = true
}

// clean ends whatever is left and says what happened when the run has failed.
func (r *run) clean() {
	for {
		left := r.marked()
		if len(left) == 0 {
			break
		}
		for _, p := range left {
			// ESRCH: it ended meanwhile.
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
		r.adopted()
	}
	if r.told != nil {
		r.told.close()
		r.control.Close()
		<-r.exited
		r.readers.Wait()
	}
	r.adopted()
	if r.disk {
		if err := unix.Unmount(r.full, unix.MNT_DETACH); err != nil {
			r.t.Error(err)
		}
	}
	if err := os.RemoveAll(r.dir); err != nil {
		r.t.Error(err)
	}
	r.history.close()
	if r.t.Failed() {
		r.t.Logf("seed %d, the last of what happened:\n%s", r.seed, r.history)
	}
}

// adopted reaps what has come to this process and ended.
func (r *run) adopted() {
	for _, p := range ps.Children(os.Getpid()) {
		if p.State == 'Z' && p.PID != r.cmd.Process.Pid {
			// ECHILD: os/exec was faster, with a child of its own.
			_, _ = syscall.Wait4(p.PID, nil, syscall.WNOHANG, nil)
		}
	}
}

// marked returns the live processes of this run.
func (r *run) marked() []ps.Process {
	var found []ps.Process
	for _, p := range ps.All() {
		if ps.Environ(p.PID, markEnv) == r.id {
			found = append(found, p)
		}
	}
	return found
}

// master is the pid of the arbiter that serves.
func (r *run) master() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.arbiter
}

// ask bounds a question to gofork.
func ask() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// status asks until there is an answer: what is stopped or out of descriptors
// will go on.
func (r *run) status() (*control.Status, error) {
	ctx, cancel := ask()
	defer cancel()
	for {
		st, err := r.control.Status(ctx)
		if err == nil {
			return st, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		pause(20 * time.Millisecond)
	}
}

// pause lets time pass: here it is what is tested.
func pause(d time.Duration) { <-time.After(d) }

// between returns a random time.
func (r *run) between(low, high time.Duration) time.Duration {
	return low + time.Duration(r.rng.Int64N(int64(high-low)))
}

// send signals exactly the process that was seen to be of this run.
func (r *run) send(pid int, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if ps.Environ(pid, markEnv) != r.id {
		return errors.New("not a process of this run")
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// limit sets a soft limit of one of this run's processes and returns what it was.
func (r *run) limit(pid, resource, soft int) (before int, err error) {
	cmd := exec.Command(r.bin.child, "limit", fmt.Sprint(pid), fmt.Sprint(resource), fmt.Sprint(soft))
	cmd.Env = append(cleanEnv(), markEnv+"=limit")
	if attr := r.cmd.SysProcAttr; attr.Credential != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: attr.Credential}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	return strconv.Atoi(string(out))
}

func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		key, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(key, "GOFORK_"), strings.HasPrefix(key, "LISTEN_"), strings.HasPrefix(key, "CHAOS_"):
		case key == "PORT", key == "WEB_CONCURRENCY", key == "NOTIFY_SOCKET", key == "XDG_RUNTIME_DIR", key == "GOCOVERDIR":
		default:
			env = append(env, kv)
		}
	}
	return append(env, "GORACE=atexit_sleep_ms=0")
}

// freeAddr is below the ephemeral range, so that no outgoing connection takes it.
func freeAddr(t *testing.T) string {
	t.Helper()
	for i := range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+(os.Getpid()*53+i)%5000)
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}
