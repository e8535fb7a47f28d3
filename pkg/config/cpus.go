package config

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// usableCPUs is how many CPUs this process can keep busy: those of its affinity
// mask, or fewer when a cgroup's CPU quota (v2 cpu.max, v1 cpu.cfs_quota_us) is
// smaller, rounded up, at least 1. root is the file system's root. Files that
// cannot be read limit nothing.
//
// runtime.GOMAXPROCS counts quotas too, but never goes below 2 for them and can be
// set by hand.
func usableCPUs(root fs.FS, affinity int) int {
	n := max(affinity, 1)
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return n
	}
	for line := range strings.SplitSeq(string(groups), "\n") {
		// hierarchy:controllers:path; v2 has hierarchy 0 and no controllers.
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		controllers, group := parts[1], parts[2]
		if controllers == "" {
			for _, mount := range []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"} {
				n = min(n, quotaAlong(root, mount, group, quotaV2))
			}
			continue
		}
		for c := range strings.SplitSeq(controllers, ",") {
			if c == "cpu" {
				n = min(n, quotaAlong(root, "sys/fs/cgroup/"+controllers, group, quotaV1))
				n = min(n, quotaAlong(root, "sys/fs/cgroup/cpu", group, quotaV1))
			}
		}
	}
	return max(n, 1)
}

const noQuota = 1 << 30

// quotaAlong is the smallest quota of a group and the groups around it. In a container
// the path may be the host's and not exist here; the mount's root then has the quota.
func quotaAlong(root fs.FS, mount, group string, quota func(fs.FS, string) (limit, period float64)) int {
	least := noQuota
	for g := path.Clean("/" + group); ; g = path.Dir(g) {
		limit, period := quota(root, path.Join(mount, g))
		if limit > 0 && period > 0 && limit/period < noQuota {
			cpus := int(limit / period)
			if float64(cpus)*period < limit {
				cpus++
			}
			least = min(least, max(cpus, 1))
		}
		if g == "/" {
			return least
		}
	}
}

// quotaV2 reads "MAX PERIOD" or "max PERIOD".
func quotaV2(root fs.FS, dir string) (limit, period float64) {
	data, err := fs.ReadFile(root, path.Join(dir, "cpu.max"))
	if fields := strings.Fields(string(data)); err == nil && len(fields) == 2 {
		return number(fields[0]), number(fields[1])
	}
	return 0, 0
}

func quotaV1(root fs.FS, dir string) (limit, period float64) {
	quota, _ := fs.ReadFile(root, path.Join(dir, "cpu.cfs_quota_us"))
	length, _ := fs.ReadFile(root, path.Join(dir, "cpu.cfs_period_us"))
	return number(string(quota)), number(string(length))
}

// number is 0 for what is none, such as "max"; -1 means no quota in v1.
func number(s string) float64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0
	}
	return float64(n)
}
