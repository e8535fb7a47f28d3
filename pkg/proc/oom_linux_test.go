package proc

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOOMCounterReadsBothKindsOfCgroup(t *testing.T) {
	for _, c := range []struct {
		name, membership, file, content string
		want                            int64
		ok                              bool
	}{
		{"v2", "0::/app.slice/app.service\n", "app.slice/app.service/memory.events", "low 0\noom 3\noom_kill 2\n", 2, true},
		{"v2 in a namespace of its own", "0::/\n", "memory.events", "oom_kill 7\n", 7, true},
		{"v1", "5:memory:/docker/abc\n0::/\n", "memory/docker/abc/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n", 4, true},
		{"v1 seen from inside", "5:cpu,memory:/docker/abc\n", "memory/memory.oom_control", "oom_kill 1\n", 1, true},
		{"no counter", "5:cpu:/\n", "cpu/cpu.stat", "oom_kill 1\n", 0, false},
		{"garbage", "0::/\n", "memory.events", "oom_kill many\n", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			membership := filepath.Join(root, "cgroup")
			path := filepath.Join(root, "fs", c.file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, content := range map[string]string{membership: c.membership, path: c.content} {
				if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, ok := oomCounterBelow(membership, filepath.Join(root, "fs")).Read()
			if got != c.want || ok != c.ok {
				t.Errorf("Read() = %d, %v, want %d, %v", got, ok, c.want, c.ok)
			}
		})
	}
}
