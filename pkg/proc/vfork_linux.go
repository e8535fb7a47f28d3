//go:build amd64 || arm64

package proc

import "golang.org/x/sys/unix"

// cloneFlags make a child that runs in the memory of this process, which waits
// until the child has become its program or has ended: nothing is copied, be it
// ever so large.
const cloneFlags = unix.CLONE_VM | unix.CLONE_VFORK | uintptr(unix.SIGCHLD)

// vfork is clone(2) for callers that obey the rules of [plan.run]. Raw system
// calls of package syscall would return to an address that the child has
// overwritten.
//
//go:noescape
func vfork(flags uintptr) (pid, errno uintptr)
