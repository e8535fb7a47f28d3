package arbiter

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/handoff"
)

// socket is one bind address. With reuse_port each slot has a socket of its own,
// which the arbiter keeps over the deaths of the slot's workers, so that what
// waits in its queue is not lost; else all share one.
type socket struct {
	name    string // of bind, or as the supervisor above calls it
	perSlot bool
	list    []*handoff.Listener // by slot from 1; nil where a slot has none yet
}

func (s *socket) first() *handoff.Listener { return s.list[0] }

// forSlot is what a slot's worker listens on.
func (s *socket) forSlot(slot int, o handoff.Options) (*handoff.Listener, error) {
	if !s.perSlot {
		return s.first(), nil
	}
	for len(s.list) < slot {
		s.list = append(s.list, nil)
	}
	if s.list[slot-1] == nil {
		// A port that the system chose is asked for by its number.
		l, err := handoff.Listen(context.Background(), strings.TrimPrefix(s.first().Addr(), "tcp://"), o)
		if err != nil {
			return nil, err
		}
		s.list[slot-1] = l
	}
	return s.list[slot-1], nil
}

// close closes all of it.
func (s *socket) close(unlink bool) error {
	var errs []error
	for _, l := range s.list {
		if l == nil {
			continue
		}
		if unlink {
			errs = append(errs, l.Unlink()) // before the close: the inode tells whose it is
		}
		errs = append(errs, l.Close())
	}
	s.list = nil
	return errors.Join(errs...)
}

// sockets are the listening sockets by the generations that use them. They belong
// to the loop; what a generation shares with another is one and the same socket.
type sockets struct {
	inherited bool // from the supervisor above: bind counts for nothing
	of        map[int][]*socket
}

// all are the descriptors of a generation.
func (s *sockets) all(generation int) []*handoff.Listener {
	var all []*handoff.Listener
	for _, k := range s.of[generation] {
		for _, l := range k.list {
			if l != nil {
				all = append(all, l)
			}
		}
	}
	return all
}

// forSlot is what a worker of that generation and slot listens on.
func (s *sockets) forSlot(generation, slot int, o handoff.Options) ([]*handoff.Listener, error) {
	list := make([]*handoff.Listener, 0, len(s.of[generation]))
	for _, k := range s.of[generation] {
		l, err := k.forSlot(slot, o)
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

// retireSlot closes the sockets of a slot that is not wanted any more: the kernel
// must not send connections to a queue that nobody empties.
func (s *sockets) retireSlot(slot int) error {
	var errs []error
	for _, list := range s.of {
		for _, k := range list {
			if k.perSlot && slot > 1 && slot <= len(k.list) && k.list[slot-1] != nil {
				errs = append(errs, k.list[slot-1].Close())
				k.list[slot-1] = nil
			}
		}
	}
	return errors.Join(errs...)
}

// path is the file of a unix socket, "" when there is none.
func (s *socket) path() string {
	path, unix := strings.CutPrefix(s.name, "unix:")
	if !unix || strings.HasPrefix(path, "@") {
		return ""
	}
	return path
}

// retire closes what none of the kept generations uses. Paths are removed unless
// a sibling may still answer there; left are those that stay.
func (s *sockets) retire(keep []int, unlink bool) (left []string, err error) {
	var used []*socket
	for number, list := range s.of {
		if slices.Contains(keep, number) {
			used = append(used, list...)
		}
	}
	var errs []error
	for number, list := range s.of {
		if slices.Contains(keep, number) {
			continue
		}
		delete(s.of, number)
		for _, k := range list {
			if !slices.Contains(used, k) {
				used = append(used, k) // shared by two that go: close it once
				errs = append(errs, k.close(unlink && !s.inherited))
				if path := k.path(); path != "" && !unlink && !s.inherited {
					left = append(left, path)
				}
			}
		}
	}
	return left, errors.Join(errs...)
}

func addresses(list []*socket) []string {
	all := make([]string, len(list))
	for i, k := range list {
		all[i] = k.first().Addr()
	}
	return all
}

// grouped makes sockets of what was handed over: those of one name are the slots'.
func grouped(list []*handoff.Listener, reusePort bool) []*socket {
	var all []*socket
	for _, l := range list {
		at := slices.IndexFunc(all, func(k *socket) bool { return k.name == l.Name() })
		if at >= 0 && reusePort {
			all[at].list = append(all[at].list, l)
			continue
		}
		all = append(all, &socket{name: l.Name(), perSlot: reusePort && isTCP(l.Addr()), list: []*handoff.Listener{l}})
	}
	return all
}

func isTCP(addr string) bool { return strings.HasPrefix(addr, "tcp://") }

// openSocket opens what bind names.
func openSocket(bind string, c *config.Config) (*socket, error) {
	l, err := handoff.Listen(context.Background(), bind, listenOptions(c))
	if err != nil {
		return nil, err
	}
	return &socket{name: bind, perSlot: c.Server.ReusePort && isTCP(l.Addr()), list: []*handoff.Listener{l}}, nil
}

// loaded is the outcome of reading the configuration again.
type loaded struct {
	event     configLoaded
	listeners []*socket // in order, for a new generation
	fresh     []*socket // those of them that were opened for it
}

// load reads the configuration again, beside the loop: files, users and host
// names may take their time. open are the sockets that are open, by bind.
func load(a loadConfig, read func() (*config.Config, error), inherited []*socket, open map[string]*socket) loaded {
	out := loaded{event: configLoaded{number: a.number, token: a.token}}
	next, err := read()
	if err != nil {
		out.event.err = "cannot reload: " + err.Error()
		return out
	}
	out.event.config = next
	if a.dry {
		out.event.plan = plan(config.Diff(a.current, next), a, next)
		return out
	}
	if a.only || next.Worker == nil {
		return out
	}
	if len(inherited) > 0 {
		out.listeners = inherited
		out.event.listeners = addresses(inherited)
		return out
	}
	for _, bind := range next.Server.Bind {
		k := open[bind]
		if k == nil {
			if k, err = openSocket(bind, next); err != nil {
				for _, f := range out.fresh {
					_ = f.close(true)
				}
				return loaded{event: configLoaded{number: a.number, token: a.token, err: "cannot reload: " + err.Error()}}
			}
			out.fresh = append(out.fresh, k)
		}
		out.listeners = append(out.listeners, k)
	}
	out.event.listeners = addresses(out.listeners)
	return out
}

func listenOptions(c *config.Config) handoff.Options {
	return handoff.Options{Backlog: c.Server.Backlog, UnixMode: c.Server.UnixSocketMode, ReusePort: c.Server.ReusePort}
}

// plan says what a reload would do, or a reread, which leaves the web tier alone.
func plan(d config.Change, a loadConfig, after *config.Config) *control.Plan {
	p := &control.Plan{Workers: "none"}
	if !a.only && (a.current.Worker != nil || after.Worker != nil) {
		p.Workers = "new generation"
	}
	add := func(action string, binds []string) {
		for _, b := range binds {
			p.Listeners = append(p.Listeners, control.PlanListener{Address: b, Action: action})
		}
	}
	if !a.only {
		add("open", d.ListenersAdded)
		add("close", d.ListenersRemoved)
		add("keep", d.ListenersKept)
	}
	companion := func(action string, names []string) {
		for _, n := range names {
			p.Companions = append(p.Companions, control.PlanCompanion{Name: n, Action: action, Keys: d.Keys[n]})
		}
	}
	companion("start", d.Added)
	companion("stop", d.Removed)
	companion("restart", d.Changed)
	companion("scale", d.Scaled)
	for _, n := range d.Unchanged {
		action := "none"
		if spec, ok := after.Companion(n); ok && spec.OnReload.Restart {
			action = "restart"
		} else if ok && spec.OnReload.Signal != 0 {
			action = "signal"
		}
		p.Companions = append(p.Companions, control.PlanCompanion{Name: n, Action: action, Keys: d.Keys[n]})
	}
	return p
}

// loadConfig begins to read the configuration again; its outcome comes to the
// loop as any other fact.
func (l *loop) loadConfig(a loadConfig) {
	var inherited []*socket
	open := map[string]*socket{}
	for _, list := range l.sockets.of {
		if l.sockets.inherited {
			inherited = list
		}
		for _, k := range list {
			open[k.name] = k
		}
	}
	l.loading.Go(func() { l.loads <- load(a, l.Load, inherited, open) })
}

func (l *loop) loaded(o loaded) {
	if next := o.event.config; next != nil && o.event.token == 0 {
		for _, w := range next.Warnings {
			if !slices.Contains(l.core.config.Warnings, w) { // else it was said before
				l.Logger.Warn(w)
			}
		}
		if err := l.place.admit(next); err != nil {
			l.Logger.Warn("children of another user cannot report readiness", "error", err.Error())
		}
	}
	if l.core.stop.sent {
		for _, k := range o.fresh {
			_ = k.close(true) // too late: nobody would answer there
		}
	} else if len(o.listeners) > 0 {
		l.sockets.of[o.event.number] = o.listeners
		for _, k := range o.fresh {
			l.listening(k)
		}
	}
	l.quiet.DidMuch() // a configuration was read
	l.step(o.event)
}

// endLoads waits for reads that are still under way when everything has stopped.
func (l *loop) endLoads() {
	go func() { l.loading.Wait(); close(l.loads) }()
	for o := range l.loads {
		for _, k := range o.fresh {
			_ = k.close(true)
		}
	}
}

// bindsLater says whether to try again: a predecessor may need a moment to go, or an
// address to come to this machine.
func bindsLater(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL)
}
