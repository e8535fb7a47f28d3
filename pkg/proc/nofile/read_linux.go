//go:build amd64 || arm64

package nofile

func read() Limit {
	const nofile = 7 // RLIMIT_NOFILE
	var l [2]uint64
	if getrlimit(nofile, &l) != 0 {
		return Limit{}
	}
	return Limit{l[0], l[1]}
}

// getrlimit is getrlimit(2); syscall.Getrlimit is not there yet.
//
//go:noescape
func getrlimit(resource uintptr, limit *[2]uint64) (errno uintptr)
