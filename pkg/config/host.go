package config

import "os"

// host is what a configuration asks the machine for.
type host struct {
	euid int
	egid int
	cpus func() int
}

func thisHost() host {
	return host{euid: os.Geteuid(), egid: os.Getegid(), cpus: func() int { return usableCPUs(os.DirFS("/"), affinity()) }}
}
