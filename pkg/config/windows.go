package config

import (
	"fmt"
	"time"
)

// resolveManager derives the manager's windows from its slowest companion.
func (l *resolver) resolveManager(raw any, companions []Companion) Manager {
	v := l.read("manager", "manager", raw, nil)
	m := Manager{
		StopTimeout:    get[time.Duration](v, "stop_timeout"),
		ReloadTimeout:  get[time.Duration](v, "reload_timeout"),
		ShutdownBuffer: get[time.Duration](v, "shutdown_buffer"),
	}
	for _, w := range []struct {
		key    string
		window *time.Duration
		of     func(*Companion) time.Duration
	}{
		{"stop_timeout", &m.StopTimeout, func(c *Companion) time.Duration { return c.StopTimeout }},
		{"reload_timeout", &m.ReloadTimeout, func(c *Companion) time.Duration { return c.ReloadTimeout }},
	} {
		slow := slowest(companions, w.of)
		switch explicit := *w.window != unset; {
		case explicit && slow != nil && *w.window < w.of(slow):
			l.warn("manager.%s: %s is shorter than the %s that companion %s has, which will be killed early",
				w.key, FormatDuration(*w.window), FormatDuration(w.of(slow)), slow.Name)
		case explicit:
		case slow != nil:
			*w.window = w.of(slow) + m.ShutdownBuffer
		default:
			*w.window = 0
		}
	}
	return m
}

// slowest is the companion with the longest window, the first by name of equal ones,
// nil when there are none.
func slowest(companions []Companion, window func(*Companion) time.Duration) *Companion {
	var slow *Companion
	for i := range companions {
		if c := &companions[i]; slow == nil || window(c) > window(slow) {
			slow = c
		}
	}
	return slow
}

// StopBudgetCause says what makes a stop take as long as [Config.StopBudget]: the key
// or the companion with its keys, and the companion's name, "" when it is none.
func (c *Config) StopBudgetCause() (cause, companion string) {
	window := c.Manager.StopTimeout
	slow := slowest(c.Companions, func(c *Companion) time.Duration { return c.StopTimeout })
	switch {
	case c.Server.GracefulTimeout >= window:
		cause = "server.graceful_timeout " + FormatDuration(c.Server.GracefulTimeout)
	case slow != nil && window == slow.StopTimeout+c.Manager.ShutdownBuffer:
		companion = slow.Name
		cause = fmt.Sprintf("companion %s: stop_timeout %s + manager.shutdown_buffer %s",
			slow.Name, FormatDuration(slow.StopTimeout), FormatDuration(c.Manager.ShutdownBuffer))
	default:
		cause = "manager.stop_timeout " + FormatDuration(window)
	}
	if c.Server.ShutdownDelay > 0 {
		cause += ", server.shutdown_delay " + FormatDuration(c.Server.ShutdownDelay)
	}
	return cause, companion
}

// warnStopBudget tells which key makes a stop longer than the platform waits.
func (l *resolver) warnStopBudget(c *Config) {
	grace, budget := c.Server.DeclaredGrace, c.StopBudget()
	if grace == 0 || budget <= grace {
		return
	}
	cause, _ := c.StopBudgetCause()
	l.warn("server.declared_grace: a stop may take %s, longer than the %s that are declared: %s",
		FormatDuration(budget), FormatDuration(grace), cause)
}
