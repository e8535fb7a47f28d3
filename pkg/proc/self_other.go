//go:build !linux

package proc

import "os"

// Self is the running executable as a path to start it again by; where there is
// no /proc it is the file that was started.
var Self, _ = os.Executable()
