//go:build linux

package chaos

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// roles are what this binary does as a child of gofork.
var roles = map[string]func(args []string) error{
	"exclusive": childExclusive, // FILE: holds FILE.N.lock while it lives, for each instance N
	"family":    childFamily,    // FILE: the same, and so does a child of its own
	"hold":      childHold,      // the child of family
	"stubborn":  childStubborn,  // FILE: as exclusive, but ignores SIGTERM
	"restless":  childRestless,  // ends with code 1 after a moment
	"spew":      childSpew,      // FILE [RATE]: writes numbered lines, and says in FILE.wrote how many
	"exit":      childExit,      // CODE: ends at once
	"hang":      childHang,      // never gets ready
	"crash":     childCrash,     // is killed by a signal of its own
	"limit":     childLimit,     // PID RESOURCE SOFT: sets a soft limit of another process, says the one before
}

func childMain(args []string) int {
	if len(args) == 0 || roles[args[0]] == nil {
		fmt.Fprintf(os.Stderr, "no such role: %q\n", args)
		return 70
	}
	if err := roles[args[0]](args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 71
	}
	return 0
}

// claim takes the lock of an instance, or says in FILE.twice that somebody has it.
func claim(file string) (*os.File, error) {
	name := file + "." + os.Getenv("GOFORK_INSTANCE")
	lock, err := os.OpenFile(name+".lock", os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(name + ".holder")
		twice, err := os.OpenFile(file+".twice", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
		if err != nil {
			return nil, err
		}
		defer twice.Close()
		fmt.Fprintf(twice, "%s pid %d at %s: the lock is held since %s\n", name, os.Getpid(), time.Now().Format(time.RFC3339Nano), bytes.TrimSpace(holder))
		return nil, fmt.Errorf("%s is locked", name)
	}
	holder := fmt.Sprintf("%s by pid %d\n", time.Now().Format(time.RFC3339Nano), os.Getpid())
	return lock, os.WriteFile(name+".holder", []byte(holder), 0o666)
}

func childExclusive(args []string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	lock, err := claim(args[0])
	if err != nil {
		return err
	}
	defer lock.Close()
	<-stop
	return nil
}

// The lock belongs to the open file, so to leader and child together: it is free
// when both have ended.
func childFamily(args []string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	lock, err := claim(args[0])
	if err != nil {
		return err
	}
	defer lock.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "hold")
	cmd.ExtraFiles = []*os.File{lock}
	if err := cmd.Start(); err != nil {
		return err
	}
	<-stop
	// The group was signalled: the child ends, too.
	return cmd.Wait()
}

func childHold([]string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	return nil
}

func childStubborn(args []string) error {
	signal.Ignore(syscall.SIGTERM)
	lock, err := claim(args[0])
	if err != nil {
		return err
	}
	defer lock.Close()
	time.Sleep(time.Hour)
	return nil
}

func childRestless([]string) error {
	<-time.After(400 * time.Millisecond)
	return childExit([]string{"1"})
}

// lineWidth is how long a line of spew is, with its end.
const lineWidth = 122

// spewRate is what spew writes unless told otherwise, in bytes a second. The race
// detector makes readers slow.
func spewRate() int {
	if raceEnabled {
		return 20_000_000
	}
	return 100_000_000
}

// childSpew makes up for what it could not write in time, as far as it can. When
// nobody reads any more it ends all the same.
func childSpew(args []string) error {
	rate := spewRate()
	if len(args) > 1 {
		var err error
		if rate, err = strconv.Atoi(args[1]); err != nil {
			return err
		}
	}
	stop, ended := make(chan os.Signal, 1), make(chan error, 1)
	signal.Notify(stop, syscall.SIGTERM)
	ending := make(chan struct{})
	go func() { ended <- spew(args[0]+".wrote", rate, ending) }()
	select {
	case err := <-ended:
		return err
	case <-stop:
		close(ending)
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(500 * time.Millisecond):
		return nil
	}
}

// spew writes until ending is closed, then a file with the number of lines and
// the milliseconds that they took.
func spew(file string, rate int, ending <-chan struct{}) error {
	const every = 5 * time.Millisecond
	together := min(1024, 1+rate/lineWidth/200)
	block := bytes.Repeat(append(bytes.Repeat([]byte("chaos "), lineWidth/6), "s\n"...), together)
	begun, written := time.Now(), 0
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ending:
			return os.WriteFile(file, fmt.Appendf(nil, "%d %d", written, time.Since(begun).Milliseconds()), 0o666)
		case <-tick.C:
		}
		for due := int(time.Since(begun).Seconds() * float64(rate) / lineWidth); written < due; written += together {
			for n := range together {
				line := block[n*lineWidth:]
				for i, left := 10, written+n; i >= 0; i, left = i-1, left/10 {
					line[i] = byte('0' + left%10)
				}
			}
			if _, err := os.Stdout.Write(block); err != nil {
				return err
			}
			select {
			case <-ending:
				due = 0
			default:
			}
		}
	}
}

func childExit(args []string) error {
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

func childHang([]string) error {
	time.Sleep(time.Hour)
	return nil
}

func childCrash([]string) error {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		return err
	}
	time.Sleep(time.Hour)
	return nil
}

// childLimit is a program because it has to be of the same user: root may not
// have the capability that makes it an exception.
func childLimit(args []string) error {
	var n [3]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(args[i]); err != nil {
			return err
		}
	}
	var before unix.Rlimit
	if err := unix.Prlimit(n[0], n[1], nil, &before); err != nil {
		return err
	}
	after := unix.Rlimit{Cur: min(uint64(n[2]), before.Max), Max: before.Max}
	if err := unix.Prlimit(n[0], n[1], &after, nil); err != nil {
		return err
	}
	fmt.Print(min(before.Cur, math.MaxInt32))
	return nil
}
