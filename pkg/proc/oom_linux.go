package proc

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// OOMCounter tells how many processes the kernel has killed in this process's
// cgroup because its memory was used up: memory.events of cgroup v2, or
// memory.oom_control of v1.
type OOMCounter struct {
	path string // "" where there is no such counter
}

// NewOOMCounter finds the counter of the cgroup that this process is in.
func NewOOMCounter() OOMCounter { return oomCounterBelow("/proc/self/cgroup", "/sys/fs/cgroup") }

func oomCounterBelow(membership, root string) OOMCounter {
	lines, err := os.ReadFile(membership)
	if err != nil {
		return OOMCounter{}
	}
	var candidates []string
	for line := range strings.Lines(string(lines)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3) // hierarchy:controllers:path
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[1] == "":
			candidates = append(candidates, filepath.Join(root, fields[2], "memory.events"), filepath.Join(root, "memory.events"))
		case strings.Contains(","+fields[1]+",", ",memory,"):
			candidates = append(candidates, filepath.Join(root, "memory", fields[2], "memory.oom_control"), filepath.Join(root, "memory", "memory.oom_control"))
		}
	}
	for _, path := range candidates {
		c := OOMCounter{path}
		if _, ok := c.Read(); ok {
			return c
		}
	}
	return OOMCounter{}
}

// Read returns the count, and whether there is one.
func (c OOMCounter) Read() (kills int64, ok bool) {
	if c.path == "" {
		return 0, false
	}
	data, err := os.ReadFile(c.path)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		if value, found := strings.CutPrefix(line, "oom_kill "); found {
			kills, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return kills, err == nil
		}
	}
	return 0, false
}
