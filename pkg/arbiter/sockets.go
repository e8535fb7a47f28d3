package arbiter

import (
	"context"
	"errors"
	"slices"
	"syscall"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/handoff"
)

// sockets are the listening sockets by the generations that use them. They belong
// to the loop; what a generation shares with another is one and the same socket.
type sockets struct {
	inherited bool // from the supervisor above: bind counts for nothing
	of        map[int][]*handoff.Listener
}

// named finds an open socket by what it was asked for.
func (s *sockets) named(bind string) *handoff.Listener {
	for _, list := range s.of {
		for _, l := range list {
			if l.Name() == bind {
				return l
			}
		}
	}
	return nil
}

// retire closes what none of the kept generations uses. A path is removed unless
// a sibling still answers there.
func (s *sockets) retire(keep []int, unlink bool) error {
	var used []*handoff.Listener
	for number, list := range s.of {
		if slices.Contains(keep, number) {
			used = append(used, list...)
		}
	}
	var errs []error
	closed := map[*handoff.Listener]bool{}
	for number, list := range s.of {
		if slices.Contains(keep, number) {
			continue
		}
		delete(s.of, number)
		for _, l := range list {
			if slices.Contains(used, l) || closed[l] {
				continue
			}
			closed[l] = true
			if unlink && !s.inherited {
				errs = append(errs, l.Unlink())
			}
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

func addresses(list []*handoff.Listener) []string {
	all := make([]string, len(list))
	for i, l := range list {
		all[i] = l.Addr()
	}
	return all
}

// loaded is the outcome of reading the configuration again.
type loaded struct {
	event     configLoaded
	listeners []*handoff.Listener // in order, for a new generation
	fresh     []*handoff.Listener // those of them that were opened for it
}

// load reads the configuration again, beside the loop: files, users and host
// names may take their time. open are the sockets that are open, by bind.
func load(a loadConfig, read func() (*config.Config, error), inherited []*handoff.Listener, open map[string]*handoff.Listener) loaded {
	out := loaded{event: configLoaded{number: a.number, token: a.token}}
	next, err := read()
	if err != nil {
		out.event.err = "cannot reload: " + err.Error()
		return out
	}
	out.event.config = next
	if a.dry {
		out.event.plan = plan(config.Diff(a.current, next), a.current, next)
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
		l := open[bind]
		if l == nil {
			if l, err = handoff.Listen(context.Background(), bind, listenOptions(next)); err != nil {
				for _, f := range out.fresh {
					_ = errors.Join(f.Unlink(), f.Close())
				}
				return loaded{event: configLoaded{number: a.number, token: a.token, err: "cannot reload: " + err.Error()}}
			}
			out.fresh = append(out.fresh, l)
		}
		out.listeners = append(out.listeners, l)
	}
	out.event.listeners = addresses(out.listeners)
	return out
}

func listenOptions(c *config.Config) handoff.Options {
	return handoff.Options{Backlog: c.Server.Backlog, UnixMode: c.Server.UnixSocketMode, ReusePort: c.Server.ReusePort}
}

// plan says what a reload would do.
func plan(d config.Change, before, after *config.Config) *control.Plan {
	p := &control.Plan{Workers: "none"}
	if before.Worker != nil || after.Worker != nil {
		p.Workers = "new generation"
	}
	add := func(action string, binds []string) {
		for _, b := range binds {
			p.Listeners = append(p.Listeners, control.PlanListener{Address: b, Action: action})
		}
	}
	add("open", d.ListenersAdded)
	add("close", d.ListenersRemoved)
	add("keep", d.ListenersKept)
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
	var inherited []*handoff.Listener
	open := map[string]*handoff.Listener{}
	for _, list := range l.sockets.of {
		if l.sockets.inherited {
			inherited = list
		}
		for _, s := range list {
			open[s.Name()] = s
		}
	}
	l.loading.Go(func() { l.loads <- load(a, l.Load, inherited, open) })
}

func (l *loop) loaded(o loaded) {
	if len(o.listeners) > 0 {
		l.sockets.of[o.event.number] = o.listeners
		for _, s := range o.fresh {
			l.listening(s)
		}
	}
	l.step(o.event)
}

// endLoads waits for reads that are still under way when everything has stopped.
func (l *loop) endLoads() {
	go func() { l.loading.Wait(); close(l.loads) }()
	for o := range l.loads {
		for _, s := range o.fresh {
			_ = errors.Join(s.Unlink(), s.Close())
		}
	}
}

// addressInUse says whether to try again: a predecessor may need a moment to go.
func addressInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
