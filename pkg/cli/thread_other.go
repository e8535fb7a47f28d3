//go:build !linux

package cli

// nameThread is only needed where a binary runs itself by /proc/self/exe.
func nameThread(string) {}
