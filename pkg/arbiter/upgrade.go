package arbiter

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

// upgrade is the hot upgrade that this arbiter has begun, or is the outcome of.
//
//	the old one:  none ─► preparing ─► booting ─► beside ─► (it is stopped)
//	                ▲          │          │         │
//	                └──────────┴──────────┴─────────┘ the child has ended
//
//	the new one:  waits for the end of its parent, and of the parent's manager,
//	              before it starts companions: none may run twice
type upgrade struct {
	phase   upgradePhase
	child   int // pid, once there is one
	waiting []uint64
	asked   []upgradeAsked // to be done after a reload
	parent  int            // pid of the older arbiter while it lives; 0 = none

	// parked is the number of workers before WINCH sent them all away; 0 = it did not.
	parked int
}

type upgradePhase int

const (
	upgradeNone      upgradePhase = iota
	upgradePreparing              // the hook pre_exec runs
	upgradeBooting                // the new arbiter is starting
	upgradeBeside                 // it serves, beside this one
)

// hasChild says whether a younger arbiter lives, or is about to.
func (u *upgrade) hasChild() bool { return u.phase == upgradeBooting || u.phase == upgradeBeside }

// hasSibling says whether another arbiter shares the sockets.
func (u *upgrade) hasSibling() bool { return u.hasChild() || u.parent != 0 }

// refused is why there can be no upgrade now; "" = there can.
func (c *core) refused() string {
	u := &c.upgrade
	switch {
	case c.stop.asked:
		return "gofork is stopping"
	case c.pid == 1:
		return "gofork is PID 1: the container ends with it, so replace the container"
	case u.phase == upgradePreparing:
		return "an upgrade is under way"
	case u.phase != upgradeNone:
		return fmt.Sprintf("an upgrade is under way (new arbiter: pid %d)", u.child)
	case u.parent != 0:
		return fmt.Sprintf("this gofork is an upgrade itself: the older one still lives (pid %d)", u.parent)
	}
	return ""
}

func (c *core) askUpgrade(e upgradeAsked) {
	u := &c.upgrade
	if reason := c.refused(); reason != "" {
		c.do(record{slog.LevelWarn, "upgrade.failed", "upgrade refused", []slog.Attr{slog.String("by", e.by), slog.String("reason", reason)}})
		if e.token != 0 {
			c.do(reply{e.token, control.Conflictf("cannot upgrade: %s", reason)})
		}
		return
	}
	if c.reload.phase != reloadIdle {
		u.asked = append(u.asked, e)
		return
	}
	u.phase = upgradePreparing
	if e.token != 0 {
		u.waiting = append(u.waiting, e.token)
	}
	c.do(record{slog.LevelInfo, "upgrade.started", "starting a new arbiter beside this one", []slog.Attr{slog.String("by", e.by)}})
	c.do(startUpgrade{})
}

// upgradeAfterReload carries out what was asked for during a reload.
func (c *core) upgradeAfterReload() {
	asked := c.upgrade.asked
	c.upgrade.asked = nil
	for _, e := range asked {
		c.askUpgrade(e)
	}
}

func (c *core) upgradeStarted(e upgradeStarted) {
	u := &c.upgrade
	if u.phase != upgradePreparing {
		return
	}
	if e.err != "" {
		c.upgradeEnded(e.err)
		return
	}
	u.phase, u.child = upgradeBooting, e.pid
}

// upgradeReady is the new arbiter's word that it serves.
func (c *core) upgradeReady() {
	u := &c.upgrade
	if u.phase != upgradeBooting {
		return
	}
	u.phase = upgradeBeside
	for _, token := range u.waiting {
		c.do(reply{token, &control.UpgradeResult{PID: u.child, Socket: c.config.Control.Socket + siblingSuffix}})
	}
	u.waiting = nil
	c.do(record{
		slog.LevelInfo, "upgrade.started", "the new arbiter serves beside this one: stop this one to finish, or that one to back out",
		[]slog.Attr{slog.Int("child", u.child)},
	})
}

// upgradeExited is the end of the new arbiter: this one goes on alone.
func (c *core) upgradeExited(s exitStatus) {
	u := &c.upgrade
	if !u.hasChild() {
		return
	}
	how := fmt.Sprintf("exited with code %d", s.code)
	if s.signal != 0 {
		how = "was killed by " + signalName(s.signal)
	}
	when := " before it was ready"
	if u.phase == upgradeBeside {
		when = ""
	}
	c.upgradeEnded("the new arbiter " + how + when)
}

func (c *core) upgradeEnded(reason string) {
	u := &c.upgrade
	level := slog.LevelError
	if u.phase == upgradeBeside {
		level = slog.LevelWarn // backed out: somebody may have wanted that
	}
	c.do(record{level, "upgrade.failed", "this arbiter goes on alone", []slog.Attr{slog.String("reason", reason)}})
	for _, token := range u.waiting {
		c.do(reply{token, control.Conflictf("cannot upgrade: %s", reason)})
	}
	*u = upgrade{parent: u.parent, parked: u.parked}
}

// parentGone is the end of the older arbiter and of its companions: this one is
// the only one now.
func (c *core) parentGone(now time.Time) {
	if c.upgrade.parent == 0 {
		return
	}
	old := c.upgrade.parent
	c.upgrade.parent = 0
	c.do(promote{})
	c.do(record{slog.LevelInfo, "upgrade.promoted", "the older arbiter is gone: this one takes over", []slog.Attr{slog.Int("parent", old)}})
	if len(c.config.Companions) > 0 && !c.stop.asked && c.manager.phase == managerNone {
		c.startManager(now)
	}
}

// park sends all workers away, as WINCH asks for; a reload brings them back.
func (c *core) park(now time.Time, by string) {
	if c.stop.asked || c.count == 0 {
		return
	}
	parked := c.count
	c.setCount(now, 0, by)
	c.upgrade.parked = parked
}
