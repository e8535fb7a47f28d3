package handoff

import (
	"log/slog"
	"time"
)

// Drop is a datagram that did not count, and why.
type Drop struct {
	PID    int // sender, 0 when the kernel did not say
	Reason string
}

const (
	// maxQueue bounds the messages that wait for Take. What comes on top is
	// dropped: left in the kernel it would block senders that did nothing wrong.
	maxQueue = 4096
	// maxDrops bounds the reasons that are kept; the rest is only counted.
	maxDrops = 16
	// dropsInterval is how often drops are told: everybody may send, and must not
	// be able to fill the log.
	dropsInterval = 10 * time.Second
)

// DropLog tells in the log what a [Receiver] has dropped.
type DropLog struct{ told time.Time }

// Tell is for after each Take. What is dropped within ten seconds of the last
// record waits for a later call.
func (d *DropLog) Tell(r *Receiver, now time.Time, log *slog.Logger) {
	if now.Sub(d.told) < dropsInterval {
		return
	}
	n, first := r.Dropped()
	if n == 0 {
		return
	}
	d.told = now
	log.Warn("notification dropped", "pid", first[0].PID, "reason", first[0].Reason, "count", n)
}
