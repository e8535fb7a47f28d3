package proctest

import (
	"slices"
	"syscall"
	"time"

	"github.com/gofork/gofork/pkg/proc"
)

// Script is how one child behaves. The zero Script lives until a signal ends it.
type Script struct {
	// StartErr makes Start fail with it; nothing else counts then.
	StartErr error

	// Life is when the child ends by itself, after its start: with Code, or by
	// Signal if that is set. 0: never. AtOnce: it has ended when Start returns.
	Life   time.Duration
	Code   int
	Signal syscall.Signal

	// On is what it does on a signal; a signal that is not in it has its default
	// effect at once. SIGKILL cannot be in it.
	On map[syscall.Signal]Reaction

	// Members are further processes of its group, which live on when it ends.
	Members []Script
}

// AtOnce is the Life of a child that ends before anybody can look.
const AtOnce = time.Duration(-1)

// Reaction is what a child does on a signal.
type Reaction struct {
	Ignore bool           // go on
	After  time.Duration  // end that much later; 0 = at once
	Code   int            // and exit with it,
	Signal syscall.Signal // or, if set, die of it
}

// Ignore is the On of a child that ignores these signals.
func Ignore(sigs ...syscall.Signal) map[syscall.Signal]Reaction {
	on := make(map[syscall.Signal]Reaction, len(sigs))
	for _, sig := range sigs {
		on[sig] = Reaction{Ignore: true}
	}
	return on
}

// ExitOn is the On of a child that exits with code 0 that long after any of these.
func ExitOn(after time.Duration, sigs ...syscall.Signal) map[syscall.Signal]Reaction {
	on := make(map[syscall.Signal]Reaction, len(sigs))
	for _, sig := range sigs {
		on[sig] = Reaction{After: after}
	}
	return on
}

// ByPath scripts children by the base of their path or by their whole path; those
// that are not in it get the zero Script.
func ByPath(scripts map[string]Script) func(proc.Command) Script {
	return func(c proc.Command) Script {
		if s, ok := scripts[c.Path]; ok {
			return s
		}
		base := c.Path
		for i, r := range c.Path {
			if r == '/' {
				base = c.Path[i+1:]
			}
		}
		return scripts[base]
	}
}

// harmless are the signals whose default effect does not end a process. The
// simulation does not stop processes.
var harmless = []syscall.Signal{
	0, syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG, syscall.SIGWINCH,
	syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
}

func (s Script) reaction(sig syscall.Signal) Reaction {
	if sig == syscall.SIGKILL {
		return Reaction{Signal: sig}
	}
	if r, ok := s.On[sig]; ok {
		return r
	}
	if slices.Contains(harmless, sig) {
		return Reaction{Ignore: true}
	}
	return Reaction{Signal: sig}
}
