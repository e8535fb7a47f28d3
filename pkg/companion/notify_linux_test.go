package companion

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/handoff"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
	"github.com/gofork/gofork/pkg/proc/proctest"
)

// self is a system whose one child is this very process group, so that what the
// test sends to the notify socket has the credentials of a companion.
type self struct {
	*proctest.Fake
	group   int
	changed chan struct{}
	ended   atomic.Bool
}

func (s *self) Start(proc.Command) (int, error) { return s.group, nil }
func (s *self) Changed() <-chan struct{}        { return s.changed }

func (s *self) SignalGroup(pgid int, sig syscall.Signal) error {
	s.ended.Store(true)
	s.changed <- struct{}{}
	return nil
}

func (s *self) Sweep() proc.Changes {
	if s.ended.Swap(false) {
		return proc.Changes{Exits: []proc.Exit{{PID: s.group}}}
	}
	return proc.Changes{}
}

func TestReadyMessageOfAGroupMemberMakesItRun(t *testing.T) {
	notify, err := handoff.ListenNotify(filepath.Join(t.TempDir(), "notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	ours, theirs := net.Pipe()
	arbiter, manager := link.New(ours), link.New(theirs)
	system := &self{Fake: proctest.New(nil), group: unix.Getpgrp(), changed: make(chan struct{}, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer manager.Close()
		Run(Options{
			Link: manager, Notify: notify, NotifyPath: notify.Path(), System: system, Logger: slog.New(slog.DiscardHandler),
			Signals: make(chan os.Signal), Random: func() float64 { return 0 },
			TargetSpec: func(s TargetSpec) (string, error) { return s.Name, nil },
		})
	}()
	never := target("a", func(s *config.Companion) { s.Startsecs = 1 << 60 })
	arbiter.Send(link.Message{Apply: &link.Apply{ID: 1, Specs: []config.Companion{never}}})
	for messages := range arbiter.Received() {
		for _, m := range messages {
			switch {
			case m.Applied != nil:
				for _, text := range []string{"STATUS=warming up", "READY=1"} {
					if err := handoff.Notify(notify.Path(), text); err != nil {
						t.Error(err)
					}
				}
			case m.Instance != nil && m.Instance.State == control.Running:
				arbiter.Send(link.Message{Stop: &link.Stop{}})
			}
		}
	}
	<-ended
	arbiter.Close()
	system.Close()
}
