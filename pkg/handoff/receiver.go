package handoff

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
)
