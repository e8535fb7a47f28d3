package proc

import "runtime"

// The parent-death signal of a child follows the thread that forked it, not the
// process: it fires when that thread ends, and Go ends threads. The main thread
// never ends before the process. A goroutine can be bound to it only during
// initialisation, so this is the one init effect of the package: the main
// goroutine, on which a supervisor's loop runs, is the main thread from here on.
func init() { runtime.LockOSThread() }
