package arbiter

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/quiet"
)

// Each upgrade that is backed out, and each promotion, has such a pipe.
func TestAPipeThatHasSaidWhatItHadToIsClosed(t *testing.T) {
	l := &loop{facts: make(chan func()), ended: make(chan struct{}), quiet: quiet.Over(nil)}
	defer l.closePipes()
	var p [2]int
	if err := pipeCloexec(&p); err != nil {
		t.Fatal(err)
	}
	var said []bool
	l.watchPipe(p[0], func(b bool) { said = append(said, b) })
	unix.Close(p[1])
	(<-l.facts)()
	if len(said) != 1 || said[0] {
		t.Errorf("it said %v, want its end", said)
	}
	if _, err := unix.FcntlInt(uintptr(p[0]), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) || len(l.pipes) != 0 {
		t.Errorf("it is still open (%v), and %d are kept", err, len(l.pipes))
	}
}
