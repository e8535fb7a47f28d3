package worker

import (
	"net"
	"time"
)

// notifyWait bounds one sd_notify(3) message. The arbiter's queue holds few
// datagrams, and a worker must drain and exit even when nobody reads them.
const notifyWait = 2 * time.Second

// notifier returns a function that sends messages to the notify socket at path
// ("@name" in the abstract namespace); with an empty path it sends nothing.
// Each message dials anew: the socket may be another one after an upgrade.
func notifier(path string) func(string) error {
	if path == "" {
		return func(string) error { return nil }
	}
	addr := &net.UnixAddr{Name: path, Net: "unixgram"}
	return func(message string) error {
		c, err := net.DialUnix(addr.Net, nil, addr)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetWriteDeadline(time.Now().Add(notifyWait)); err != nil {
			return err
		}
		_, err = c.Write([]byte(message))
		return err
	}
}

func (p *process) notify(message string) {
	if err := p.opts.Notify(message); err != nil {
		p.log.Warn("cannot notify the arbiter", "message", message, "error", err)
	}
}

// beat sends WATCHDOG=1 now and at every interval from a goroutine of its own,
// so that a beat also shows that the process schedules. The first is on its way
// when beat returns: a worker that freezes right after it is missed. The returned
// function ends the others and waits for that.
func (p *process) beat() (stop func()) {
	if p.spec.HeartbeatInterval <= 0 {
		return func() {}
	}
	// A beat that is lost is not worth a log line: the next one comes, or the
	// arbiter says "worker timeout".
	send := func() { _ = p.opts.Notify("WATCHDOG=1") }
	send()
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(p.spec.HeartbeatInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				send()
			case <-quit:
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}
