//go:build !linux

package control

// ListenAbstract is for Linux, which has abstract sockets.
func ListenAbstract(string) (*Socket, error) { return nil, errNoSocket }

// AbstractSockets is for Linux, which has abstract sockets.
func AbstractSockets(string) []string { return nil }

func abstractAddress(path string) string { return path }
