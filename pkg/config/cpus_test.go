package config

import (
	"testing"
	"testing/fstest"
)

func TestUsableCPUsCountsQuotas(t *testing.T) {
	for _, tt := range []struct {
		name     string
		affinity int
		files    map[string]string
		want     int
	}{
		{"no cgroup files", 4, nil, 4},
		{"never none", 0, nil, 1},
		{"v2 without quota", 4, map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 4},
		{"v2 rounds up", 8, map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2},
		{"v2 less than one", 8, map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1000 100000\n"}, 1},
		{"v2 exact", 8, map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3},
		{"affinity is smaller", 2, map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 2},
		{"the smallest on the way up", 8, map[string]string{
			"proc/self/cgroup":            "0::/a/b\n",
			"sys/fs/cgroup/a/b/cpu.max":   "500000 100000\n",
			"sys/fs/cgroup/a/cpu.max":     "200000 100000\n",
			"sys/fs/cgroup/other/cpu.max": "100000 100000\n",
		}, 2},
		{"the host's path in a container", 8, map[string]string{"proc/self/cgroup": "0::/kubepods/x\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2},
		{"v1", 8, map[string]string{
			"proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n3:cpuset:/\n",
			"sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us":  "250000\n",
			"sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
		}, 3},
		{"v1 without quota", 8, map[string]string{
			"proc/self/cgroup":                    "1:cpu:/\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":  "-1\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
		}, 8},
		{"hybrid", 8, map[string]string{
			"proc/self/cgroup":                    "1:cpu:/\n0::/\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":  "400000\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
		}, 4},
		{"nonsense", 8, map[string]string{"proc/self/cgroup": "0::/../..\nx\n1:cpu\n", "sys/fs/cgroup/cpu.max": "a b c\n"}, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for path, content := range tt.files {
				root[path] = &fstest.MapFile{Data: []byte(content)}
			}
			if got := usableCPUs(root, tt.affinity); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
