package handoff

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestParseState(t *testing.T) {
	for _, c := range []struct {
		name, datagram string
		want           State
		err            string
	}{
		{name: "ready", datagram: "READY=1", want: State{Ready: true}},
		{name: "several, final newline", datagram: "READY=1\nWATCHDOG=1\nSTATUS=up\n", want: State{Ready: true, Watchdog: true, HasStatus: true, Status: "up"}},
		{name: "stopping", datagram: "STOPPING=1", want: State{Stopping: true}},
		{name: "reloading", datagram: "RELOADING=1\nMONOTONIC_USEC=5", want: State{Reloading: true}},
		{name: "barrier", datagram: "BARRIER=1", want: State{Barrier: true}},
		{name: "main pid", datagram: "MAINPID=42", want: State{MainPID: 42}},
		{name: "not one", datagram: "READY=0\nWATCHDOG=trigger", want: State{}},
		{name: "unknown ones", datagram: "FDSTORE=1\nX_Y=z", want: State{}},
		{name: "empty status clears", datagram: "STATUS=", want: State{HasStatus: true}},
		{name: "status with an equals sign", datagram: "STATUS=a=b", want: State{HasStatus: true, Status: "a=b"}},
		{name: "status cannot move the cursor", datagram: "STATUS=a\x1b[2Jb\tc\xff", want: State{HasStatus: true, Status: "a [2Jb c\uFFFD"}},
		{name: "empty", datagram: "", err: "no assignment"},
		{name: "newlines only", datagram: "\n\n", err: "no assignment"},
		{name: "no assignment", datagram: "READY=1\nhello", err: `no assignment: "hello"`},
		{name: "no key", datagram: "=1", err: `no assignment: "=1"`},
		{name: "NUL", datagram: "READY=1\x00", err: "contains a NUL byte"},
		{name: "bad pid", datagram: "MAINPID=-3", err: `MAINPID is not a pid: "-3"`},
		{name: "huge pid", datagram: "MAINPID=99999999999", err: `MAINPID is not a pid: "99999999999"`},
		{name: "as large as allowed", datagram: "X=" + strings.Repeat("x", MaxDatagram-2), want: State{}},
		{name: "larger", datagram: "X=" + strings.Repeat("x", MaxDatagram-1), err: "larger than 8192 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseState([]byte(c.datagram))
			if c.err != "" {
				if err == nil || err.Error() != c.err || got != (State{}) {
					t.Fatalf("%+v, %v; want the error %s", got, err, c.err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func FuzzParseState(f *testing.F) {
	for _, seed := range []string{"READY=1\nSTATUS=ok\n", "MAINPID=1", "BARRIER=1", "=", "\x00", "STATUS=\xff\x1b[0m", "A=b\n\nC"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		s, err := parseState(datagram)
		if err != nil {
			if s != (State{}) {
				t.Errorf("a refused datagram has an effect: %+v", s)
			}
			return
		}
		if !utf8.ValidString(s.Status) {
			t.Errorf("status %q is not UTF-8", s.Status)
		}
		for _, r := range s.Status {
			if unicode.IsControl(r) || r == '\u2028' || r == '\u202e' {
				t.Errorf("status %q has the control character %U", s.Status, r)
			}
		}
		if s.MainPID < 0 || len(datagram) > MaxDatagram {
			t.Errorf("accepted: %+v from %d bytes", s, len(datagram))
		}
	})
}
