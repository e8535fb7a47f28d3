package cli

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// nameThread sets what ps and top show as the command of this process, which
// after an exec of /proc/self/exe would be "exe". It is for the main thread.
func nameThread(name string) {
	b := append([]byte(name), 0)
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&b[0])), 0, 0, 0) // cosmetic
}
