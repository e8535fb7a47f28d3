package handoff

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// MaxDatagram is the size in bytes of the largest notify datagram that counts.
const MaxDatagram = 8 << 10

// Message is one notify datagram, with what the kernel says of its sender.
type Message struct {
	PID  int       // sender; it may have ended since
	PGID int       // its process group at receipt, 0 when it was gone by then
	UID  uint32    // its user
	At   time.Time // of receipt

	State
}

// State is what a datagram says, as sd_notify(3) defines it. Assignments that
// gofork has no use for (FDSTORE=1, ERRNO=… and unknown ones) are ignored.
type State struct {
	Ready     bool   // READY=1
	Reloading bool   // RELOADING=1
	Stopping  bool   // STOPPING=1
	Watchdog  bool   // WATCHDOG=1: a heartbeat
	HasStatus bool   // STATUS= was there: an empty Status clears the last one
	Status    string // STATUS=…, one line of printable text
	MainPID   int    // MAINPID=…, 0 = not there
	Recycle   string // X_GOFORK_RECYCLE=…: a handler worker asks to be replaced, and why; gofork's own
	Barrier   bool   // BARRIER=1
}

// parseState reads newline-separated assignments. A datagram is taken as a whole
// or, with the reason, not at all.
func parseState(datagram []byte) (State, error) {
	var s State
	if len(datagram) > MaxDatagram {
		return s, fmt.Errorf("larger than %d bytes", MaxDatagram)
	}
	if bytes.IndexByte(datagram, 0) >= 0 {
		return s, errors.New("contains a NUL byte")
	}
	assignments := 0
	for line := range strings.SplitSeq(string(datagram), "\n") {
		if line == "" {
			continue // a final newline is customary
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || key == "" {
			return State{}, fmt.Errorf("no assignment: %.64q", line)
		}
		assignments++
		switch key {
		case "READY":
			s.Ready = s.Ready || value == "1"
		case "RELOADING":
			s.Reloading = s.Reloading || value == "1"
		case "STOPPING":
			s.Stopping = s.Stopping || value == "1"
		case "WATCHDOG":
			s.Watchdog = s.Watchdog || value == "1"
		case "BARRIER":
			s.Barrier = s.Barrier || value == "1"
		case "STATUS":
			s.HasStatus, s.Status = true, printable(value)
		case "X_GOFORK_RECYCLE":
			s.Recycle = printable(value)
		case "MAINPID":
			pid, err := strconv.ParseInt(value, 10, 32)
			if err != nil || pid <= 0 {
				return State{}, fmt.Errorf("MAINPID is not a pid: %.64q", value)
			}
			s.MainPID = int(pid)
		}
	}
	if assignments == 0 {
		return State{}, errors.New("no assignment")
	}
	return s, nil
}

// printable makes text fit for a terminal and for a log: a status is shown to
// people, and a child must not be able to move their cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}
