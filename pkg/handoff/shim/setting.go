package shim

// Variable is the environment variable that turns a process into the shim. Its
// value is a [Setting]; the program never sees it.
const Variable = "GOFORK_SHIM"

// Exit codes of a shim that could not become the program, as shells have them.
const (
	ExitNotExecutable = 126
	ExitNotFound      = 127
)

// Open is the byte that opens the gate. End of file without it means that the
// supervisor gave the child up, or is dead: the program must not run then, for
// its limits may be missing.
const Open = 'g'

// NoGate is the Gate of a shim that need not wait.
const NoGate = -1

// Setting is what the supervisor asks of the shim.
type Setting struct {
	Path       string // the program; argv and the environment are the shim's own
	Gate       int    // descriptor to wait at, closed before the program runs; NoGate
	NoNewPrivs bool   // prctl(PR_SET_NO_NEW_PRIVS)
	OwnPID     bool   // set LISTEN_PID, and WATCHDOG_PID when WATCHDOG_USEC is there
	Limits     []Limit
}

// Limit is one setrlimit(2) that is due right before the exec: earlier, a small
// address space or process limit would end the Go runtime of the shim itself.
type Limit struct {
	Resource   int
	Soft, Hard uint64
}

// String encodes the setting as the value of [Variable]: words, "--", the path.
func (s Setting) String() string {
	var b []byte
	if s.Gate != NoGate {
		b = append(b, "gate="...)
		b = appendUint(b, uint64(s.Gate))
		b = append(b, ' ')
	}
	if s.NoNewPrivs {
		b = append(b, "nnp "...)
	}
	if s.OwnPID {
		b = append(b, "pid "...)
	}
	for _, l := range s.Limits {
		b = append(b, "limit="...)
		b = appendUint(b, uint64(l.Resource))
		b = append(b, ':')
		b = appendUint(b, l.Soft)
		b = append(b, ':')
		b = appendUint(b, l.Hard)
		b = append(b, ' ')
	}
	b = append(b, "-- "...)
	return string(append(b, s.Path...))
}

// parse is the inverse of String; ok is false for anything String never made.
func parse(value string) (s Setting, ok bool) {
	s.Gate = NoGate
	for {
		word, rest, found := cut(value, ' ')
		if !found {
			return s, false
		}
		value = rest
		key, arg, _ := cut(word, '=')
		switch key {
		case "--":
			s.Path = rest
			return s, rest != ""
		case "gate":
			n, ok := parseUint(arg)
			if !ok || n > 1<<30 {
				return s, false
			}
			s.Gate = int(n)
		case "nnp":
			s.NoNewPrivs = true
		case "pid":
			s.OwnPID = true
		case "limit":
			resource, limits, _ := cut(arg, ':')
			soft, hard, _ := cut(limits, ':')
			r, ok1 := parseUint(resource)
			cur, ok2 := parseUint(soft)
			top, ok3 := parseUint(hard)
			if !ok1 || !ok2 || !ok3 || r > 1<<10 {
				return s, false
			}
			s.Limits = append(s.Limits, Limit{Resource: int(r), Soft: cur, Hard: top})
		default:
			return s, false
		}
	}
}

// What follows is in strings and strconv, which this package must not wait for.

func cut(s string, sep byte) (before, after string, found bool) {
	for i := range len(s) {
		if s[i] == sep {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func appendUint(b []byte, n uint64) []byte {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + n%10)
		n /= 10
		if n == 0 {
			return append(b, digits[i:]...)
		}
	}
}

func parseUint(s string) (n uint64, ok bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		d := uint64(s[i] - '0')
		if d > 9 || n > (^uint64(0)-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
