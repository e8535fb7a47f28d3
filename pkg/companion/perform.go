package companion

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/launch"
	"github.com/gofork/gofork/pkg/link"
	"github.com/gofork/gofork/pkg/proc"
)

// background is for log calls, which take a context that nothing here ends.
var background = context.Background()

func (l *loop) perform(a action) {
	l.quiet.Did()
	switch a := a.(type) {
	case signalProcess:
		if pid, ok := l.pids[a.id]; ok {
			// An error means that it has ended: its exit is on the way.
			_ = l.System.Signal(pid, a.signal)
		}
	case signalGroup:
		if pid, ok := l.pids[a.id]; ok {
			_ = l.System.SignalGroup(pid, a.signal)
		}
	case measureProcess:
		if pid, ok := l.pids[a.id]; ok {
			if rss, err := l.System.RSS(pid); err == nil { // else it has ended: its exit is on the way
				l.step(processMeasured{a.id, rss})
			}
		}
	case record:
		l.record(a)
	case send:
		if d := a.message.Done; d != nil && d.Crashed != "" {
			if lines := l.lastLines(key{d.Crashed, d.CrashedInstance}); len(lines) > 0 {
				d.Message += "; it printed last:\n" + strings.Join(lines, "\n")
			}
		}
		l.say(a.message)
	case forget:
		l.forget(a.key)
	case finish:
		l.finish()
	}
}

func (l *loop) start(a startProcess) {
	pid, err := l.spawn(a.spec, a.number)
	if err != nil {
		status := exitStatus{code: launch.FailureCode(err), startError: launch.FailureReason(program(a.spec), err)}
		l.step(processExited{id: a.id, status: status})
		return
	}
	l.ids[pid] = a.id
	l.pids[a.id] = pid
	l.step(processStarted{a.id, pid})
}

// program is what a message says could not be started.
func program(spec *config.Companion) []string {
	if spec.Target != "" {
		return []string{"target " + spec.Target}
	}
	return spec.Command
}

func (l *loop) spawn(spec *config.Companion, number int) (pid int, err error) {
	told := []string{
		"GOFORK_COMPANION=" + spec.Name,
		"GOFORK_INSTANCE=" + strconv.Itoa(number),
		"GOFORK_PID=" + strconv.Itoa(l.ArbiterPID),
	}
	if l.NotifyPath != "" {
		told = append(told, "NOTIFY_SOCKET="+l.NotifyPath)
	}
	var command proc.Command
	if spec.Target != "" {
		text, err := l.TargetSpec(TargetSpec{spec.Target, spec.Name, number, spec.Options, spec.StopSignal})
		if err != nil {
			return 0, err
		}
		told = append(told, launch.EnvRole+"="+launch.RoleTarget, launch.EnvSpec+"="+text)
		command = launch.Self(&spec.Process, l.Self, "gofork: companion "+key{spec.Name, number}.String(), l.env.Of(&spec.Process, told...))
	} else {
		command, err = launch.Command(&spec.Process, spec.Command, l.env.Of(&spec.Process, told...))
		if err != nil {
			return 0, err
		}
	}
	files, err := l.openStreams(key{spec.Name, number}, spec)
	if err != nil {
		return 0, err
	}
	defer files.Close()
	command.Files = []int{proc.DevNull, files.Stdout, files.Stderr}
	return l.System.Start(command)
}

// record writes a line of the log and passes it on as an event.
func (l *loop) record(r record) {
	attrs := append([]slog.Attr{slog.String("event", r.event)}, r.attrs...)
	if lines := l.lastLines(r.output); len(lines) > 0 {
		attrs = append(attrs, slog.Any("output", lines))
	}
	if pids := l.survivors(r.survivors); len(pids) > 0 {
		attrs = append(attrs, slog.Any("survivors", pids))
	}
	l.Logger.LogAttrs(background, r.level, r.message, attrs...)
	e := &link.Event{Time: time.Now(), Level: r.level.String(), Event: r.event, Message: r.message, Attrs: link.AttrsOf(attrs[1:])}
	l.say(link.Message{Event: e, More: r.more})
}

// survivors are who lives in the group of an attempt. One look at all processes
// serves every record of the moment: a thousand companions may be killed in it.
func (l *loop) survivors(of id) []int {
	group, ok := l.pids[of]
	if !ok || of == (id{}) {
		return nil
	}
	if l.members == nil {
		l.members = l.System.Members()
	}
	return l.members[group]
}

// finish ends the manager, and before it what companions have left behind
// outside of their groups.
func (l *loop) finish() {
	if left := proc.EndDescendants(l.System, quickWindow); len(left) > 0 {
		l.Logger.LogAttrs(background, slog.LevelError, "processes survive SIGKILL", slog.String("pids", fmt.Sprint(left)))
	}
	l.done = true
}

func (l *loop) close() {
	l.timer.Stop()
	for _, f := range l.followers {
		close(f.last)
	}
	// The end of the captures is the end of followers and settles too: what is in
	// them is sent while there is room.
	for k := range l.streams {
		l.forget(k)
	}
	l.helpers.Wait()
	l.quiet.Wait()
}
