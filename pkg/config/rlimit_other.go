//go:build !linux

package config

import "golang.org/x/sys/unix"

// rlimitResources are the resources of setrlimit(2) that every Unix has.
func rlimitResources() map[string]int {
	return map[string]int{
		"as":     unix.RLIMIT_AS,
		"core":   unix.RLIMIT_CORE,
		"cpu":    unix.RLIMIT_CPU,
		"data":   unix.RLIMIT_DATA,
		"fsize":  unix.RLIMIT_FSIZE,
		"nofile": unix.RLIMIT_NOFILE,
		"stack":  unix.RLIMIT_STACK,
	}
}
