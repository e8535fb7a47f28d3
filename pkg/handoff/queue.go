package handoff

// Queue is the kernel's queue of a listening socket.
type Queue struct {
	Waiting uint32 // connections that nobody has accepted yet
	Limit   uint32 // of them: the smaller of the backlog and net.core.somaxconn
	Dropped uint32 // since the socket was opened; wraps around
}
