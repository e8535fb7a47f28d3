//go:build !linux

package proc

// ReleaseProgram does nothing on this platform.
func ReleaseProgram() {}
