package arbiter

import (
	"log/slog"
	"os"
	"syscall"
	"time"
)

// signalAtStart takes a signal in before the loop does, and says whether it is a
// stop. What else comes waits for the loop.
func (l *loop) signalAtStart(s os.Signal) (stop bool) {
	if s != syscall.SIGTERM && s != syscall.SIGINT && s != syscall.SIGQUIT {
		l.early = append(l.early, s)
		return false
	}
	l.stopped = true
	name := signalName(s.(syscall.Signal))
	l.log(record{slog.LevelInfo, "server.signal", "handling signal", []slog.Attr{slog.String("signal", name)}})
	l.log(record{slog.LevelInfo, "server.stopping", "shutting down", []slog.Attr{
		slog.String("by", name), slog.Bool("quick", s != syscall.SIGTERM), slog.Duration("budget", l.Config.StopBudget()),
	}})
	l.tellSystemd("STOPPING=1")
	return true
}

// stopAtStart is a stop before there was anything to stop.
func (l *loop) stopAtStart() int {
	l.log(l.stoppedRecord())
	return 0
}

// stopWithin waits and says whether a stop signal came meanwhile.
func (l *loop) stopWithin(d time.Duration) bool {
	wait := time.NewTimer(d)
	defer wait.Stop()
	for {
		select {
		case s := <-l.Signals:
			if l.signalAtStart(s) {
				return true
			}
		case <-wait.C:
			return false
		}
	}
}
