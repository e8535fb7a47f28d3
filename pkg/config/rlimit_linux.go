package config

import "golang.org/x/sys/unix"

// rlimitResources are the resources of setrlimit(2) by their names in prlimit(1).
func rlimitResources() map[string]int {
	return map[string]int{
		"as":         unix.RLIMIT_AS,
		"core":       unix.RLIMIT_CORE,
		"cpu":        unix.RLIMIT_CPU,
		"data":       unix.RLIMIT_DATA,
		"fsize":      unix.RLIMIT_FSIZE,
		"memlock":    unix.RLIMIT_MEMLOCK,
		"msgqueue":   unix.RLIMIT_MSGQUEUE,
		"nice":       unix.RLIMIT_NICE,
		"nofile":     unix.RLIMIT_NOFILE,
		"nproc":      unix.RLIMIT_NPROC,
		"rss":        unix.RLIMIT_RSS,
		"rtprio":     unix.RLIMIT_RTPRIO,
		"rttime":     unix.RLIMIT_RTTIME,
		"sigpending": unix.RLIMIT_SIGPENDING,
		"stack":      unix.RLIMIT_STACK,
	}
}
