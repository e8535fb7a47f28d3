package arbiter

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/handoff"
)

func TestPredecessorIsWhoseManagerAloneLives(t *testing.T) {
	const self = 7
	for _, tt := range []struct {
		name string
		live []string // sockets that somebody has open
		dead []string // sockets that nobody has
		want int
		left int
	}{
		{"nobody", nil, nil, 0, 0},
		{"a manager", []string{"app.8.manager.notify"}, []string{"app.8.notify"}, 8, 1},
		{"a manager, its arbiter's socket removed", []string{"app.8.manager.notify"}, nil, 8, 1},
		{"both live", []string{"app.8.manager.notify", "app.8.notify"}, nil, 0, 2},
		{"both are dead", nil, []string{"app.8.manager.notify", "app.8.notify"}, 0, 0},
		{"an arbiter", []string{"app.8.notify"}, nil, 0, 1},
		{"one of several", []string{"app.9.manager.notify"}, []string{"app.8.manager.notify", "app.8.notify", "app.9.notify"}, 9, 1},
		{"of another name", []string{"other.8.manager.notify", "app.x.8.manager.notify"}, []string{"other.8.notify"}, 0, 3},
		{"this one's", []string{"app.7.manager.notify"}, nil, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := place{t.TempDir()}
			for _, name := range tt.live {
				r, err := handoff.ListenNotify(filepath.Join(p.dir, name))
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
			}
			for _, name := range tt.dead {
				newDead(t, filepath.Join(p.dir, name))
			}
			if got := p.predecessor("app", self); got != tt.want {
				t.Errorf("predecessor %d, want %d", got, tt.want)
			}
			if entries, err := os.ReadDir(p.dir); err != nil || len(entries) != tt.left {
				t.Errorf("%v, %v: want %d sockets left", entries, err, tt.left)
			}
		})
	}
	if got := (place{}).predecessor("app", self); got != 0 {
		t.Errorf("abstract sockets: %d", got)
	}
}

// newDead leaves a socket behind as a process does that is killed.
func newDead(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}
