package shim

import (
	"syscall"
	"unsafe"
)

// init is the whole shim. It must be init, see the package comment; a process
// that is no shim leaves it after one look at the environment.
func init() {
	value, found := syscall.Getenv(Variable)
	if !found {
		return
	}
	s, ok := parse(value)
	if !ok {
		die(ExitNotExecutable, "cannot start a program: "+Variable+" is malformed: "+value)
	}
	become(s)
}

// become ends as the program or not at all. It runs on the main thread, to which
// init is locked: no_new_privs is an attribute of the thread that calls execve.
func become(s Setting) {
	argv, err := arguments()
	if err != 0 {
		die(ExitNotExecutable, "cannot start "+s.Path+": cannot read /proc/self/cmdline: "+err.Error())
	}
	env := environment(syscall.Environ(), s.OwnPID, syscall.Getpid())
	if s.Gate != NoGate {
		if !wait(s.Gate) {
			syscall.Exit(ExitNotExecutable) // nobody is left who would read a message
		}
		syscall.Close(s.Gate)
	}
	if s.NoNewPrivs {
		const prSetNoNewPrivs = 38
		if _, _, err := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); err != 0 {
			die(ExitNotExecutable, "cannot start "+s.Path+": cannot set no_new_privs: "+err.Error())
		}
	}
	for _, l := range s.Limits {
		limit := syscall.Rlimit{Cur: l.Soft, Max: l.Hard}
		if err := syscall.Setrlimit(l.Resource, &limit); err != nil {
			die(ExitNotExecutable, "cannot start "+s.Path+": cannot set resource limit "+
				string(appendUint(nil, uint64(l.Resource)))+": "+err.Error())
		}
	}
	code := ExitNotExecutable
	failed := syscall.Exec(s.Path, argv, env)
	if failed == syscall.ENOENT {
		code = ExitNotFound
	}
	die(code, "cannot start "+s.Path+": "+failed.Error())
}

// wait blocks until the supervisor opens the gate. A raw system call: the Go
// scheduler is not told and starts no thread to stand in for this one, which a
// process limit could forbid.
func wait(gate int) (opened bool) {
	var b [1]byte
	for {
		n, err := rawRead(gate, b[:])
		if err == syscall.EINTR {
			continue
		}
		return err == 0 && n == 1 && b[0] == Open
	}
}

// arguments returns argv, which os.Args would hold had package os run already.
func arguments() ([]string, syscall.Errno) {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		errno, _ := err.(syscall.Errno)
		return nil, errno
	}
	defer syscall.Close(fd)
	var all []byte
	chunk := make([]byte, 4096)
	for {
		n, err := rawRead(fd, chunk)
		if err == syscall.EINTR {
			continue
		}
		if err != 0 {
			return nil, err
		}
		if n == 0 {
			break
		}
		all = append(all, chunk[:n]...)
	}
	var argv []string
	for rest := string(all); rest != ""; {
		arg, after, _ := cut(rest, 0)
		argv, rest = append(argv, arg), after
	}
	return argv, 0
}

func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), err
}

func die(code int, message string) {
	_, _ = syscall.Write(2, []byte("gofork: "+message+"\n"))
	syscall.Exit(code)
}
