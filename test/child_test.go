//go:build linux

package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// The roles of this binary as a worker or companion of a gofork under test:
// command = ["@TEST", ROLE, ARGUMENT…].
var roles = map[string]func(args []string) error{
	"exit":      childExit,      // CODE: ends at once
	"exclusive": childExclusive, // FILE: holds a lock on FILE.lock; journal in FILE; ends on SIGTERM
	"stubborn":  childStubborn,  // FILE: ignores what asks it to end, so does its child; "PID CHILD" in FILE
	"leaf":      childLeaf,      // the child of stubborn and daemonize
	"daemonize": childDaemonize, // FILE: leaves a stubborn process in a session of its own, its pid in FILE
	"record":    childRecord,    // FILE: writes the names of signals into FILE and goes on
	"beat-once": childBeatOnce,  // READY=1 and one WATCHDOG=1, then silence, SIGABRT included
	"ready-on":  childReadyOn,   // READY=1 when SIGUSR1 comes
	"garbled":   childGarbled,   // notifications that are none, then READY=1
	"http":      childHTTP,      // serves the sockets that were passed: /pid, /hold (until the drain begins)
	"accept":    childAccept,    // READY=1; answers one connection after the other, waiting in accept(2)
	"usr1":      childUSR1,      // FILE: READY=1; a line in FILE for each SIGUSR1
	"app":       childApp,       // FILE: what it says: "good" (as http), "exit CODE [SLOT]", "hang"
	"counted":   childCounted,   // FILE: READY=1; "PID" in FILE for each SIGTERM, ends 300 ms after the first
	"grow":      childGrow,      // FILE MIB: READY=1; takes that much memory if nobody has made FILE yet
	"hook":      childHook,      // FILE [CODE]: a line of its GOFORK_ and FROM_ variables in FILE
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

func childExit(args []string) error {
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

// childExclusive shows whether two of one instance ever lived at a time: the
// second cannot take the lock and says so.
func childExclusive(args []string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	lock, err := os.OpenFile(args[0]+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return appendLine(args[0], "second %d", os.Getpid())
	}
	if err := appendLine(args[0], "start %d", os.Getpid()); err != nil {
		return err
	}
	<-stop
	return appendLine(args[0], "stop %d", os.Getpid())
}

func childStubborn(args []string) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	child, err := startLeaf(nil)
	if err != nil {
		return err
	}
	if err := replaceFile(args[0], "%d %d", os.Getpid(), child); err != nil {
		return err
	}
	select {}
}

func childLeaf([]string) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	// Standard output is the parent's way to know that signals are ignored now.
	if err := os.Stdout.Close(); err != nil {
		return err
	}
	select {}
}

func childDaemonize(args []string) error {
	child, err := startLeaf(&syscall.SysProcAttr{Setsid: true})
	if err != nil {
		return err
	}
	if err := replaceFile(args[0], "%d %d", os.Getpid(), child); err != nil {
		return err
	}
	select {}
}

// startLeaf starts a grandchild and returns when it ignores signals.
func startLeaf(attr *syscall.SysProcAttr) (pid int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, "leaf")
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = w, os.Stderr, attr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	w.Close()
	_, err = io.Copy(io.Discard, r)
	return cmd.Process.Pid, err
}

func childRecord(args []string) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1)
	if err := appendLine(args[0], "start %d", os.Getpid()); err != nil {
		return err
	}
	for sig := range signals {
		if err := appendLine(args[0], "%s", sig); err != nil {
			return err
		}
	}
	return nil
}

func childBeatOnce([]string) error {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGABRT)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady+"\n"+daemon.SdNotifyWatchdog); err != nil {
		return err
	}
	select {}
}

func childReadyOn([]string) error {
	usr1 := make(chan os.Signal, 1)
	signal.Notify(usr1, syscall.SIGUSR1)
	fmt.Println("waiting for SIGUSR1")
	<-usr1
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return err
	}
	select {}
}

func childGarbled([]string) error {
	for _, state := range []string{"READY", "STATUS=" + strings.Repeat("x", 8<<10), daemon.SdNotifyReady} {
		if _, err := daemon.SdNotify(false, state); err != nil {
			return err
		}
	}
	select {}
}

func childHTTP([]string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("LISTEN_PID is %q in process %d", os.Getenv("LISTEN_PID"), os.Getpid())
	}
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	mux.HandleFunc("/hold", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Println("holding")
		<-ctx.Done()
		fmt.Fprint(w, "held")
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, count)
	for fd := 3; fd < 3+count; fd++ {
		listener, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
		if err != nil {
			return err
		}
		if u, ok := listener.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // the path is gofork's
		}
		go func() { served <- srv.Serve(listener) }()
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return err
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		return srv.Shutdown(context.Background())
	}
}

// childApp boots as FILE says, which is how a test breaks and mends it. With a
// slot, only that one and those above fail.
func childApp(args []string) error {
	data, err := os.ReadFile(args[0])
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	verdict := strings.Fields(string(data) + " good")
	switch verdict[0] {
	case "exit":
		if slot := os.Getenv("GOFORK_WORKER_SLOT"); len(verdict) < 4 || slot >= verdict[2] {
			return childExit(verdict[1:])
		}
	case "hang":
		fmt.Println("hanging")
		select {}
	}
	return childHTTP(nil)
}

// childAccept is the simplest of servers: it has no loop of events, and no idea that
// accept(2) could fail for want of a connection.
func childAccept([]string) error {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return err
	}
	for {
		conn, _, err := syscall.Accept(3)
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		request := make([]byte, 4096)
		if _, err := syscall.Read(conn, request); err != nil {
			return err
		}
		body := strconv.Itoa(os.Getpid())
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
		if _, err := syscall.Write(conn, []byte(answer)); err != nil {
			return err
		}
		if err := syscall.Close(conn); err != nil {
			return err
		}
	}
}

func childUSR1(args []string) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGUSR1)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return err
	}
	for range signals {
		if err := appendLine(args[0], "%d", os.Getpid()); err != nil {
			return err
		}
	}
	return nil
}

func childCounted(args []string) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return err
	}
	var end <-chan time.Time
	for {
		select {
		case <-signals:
			if err := appendLine(args[0], "%d", os.Getpid()); err != nil {
				return err
			}
			if end == nil {
				timer := time.NewTimer(300 * time.Millisecond)
				defer timer.Stop()
				end = timer.C
			}
		case <-end:
			return nil
		}
	}
}

func childGrow(args []string) error {
	mib, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var held []byte
	if f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL, 0o644); err == nil {
		f.Close()
		held = make([]byte, mib<<20)
		for i := 0; i < len(held); i += 1 << 10 {
			held[i] = 1
		}
	}
	err = childHTTP(nil)
	runtime.KeepAlive(held)
	return err
}

func childHook(args []string) error {
	told := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return !strings.HasPrefix(kv, "GOFORK_") && !strings.HasPrefix(kv, "FROM_")
	})
	slices.Sort(told)
	if err := appendLine(args[0], "%s", strings.Join(told, " ")); err != nil {
		return err
	}
	return childExit(append(args[1:], "0"))
}

// appendLine adds a line to a file that several processes write.
func appendLine(path, format string, args ...any) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, format+"\n", args...)
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}

// replaceFile writes a file that is never seen half written.
func replaceFile(path, format string, args ...any) error {
	temporary := fmt.Sprintf("%s.%d", filepath.Clean(path), os.Getpid())
	if err := os.WriteFile(temporary, fmt.Appendf(nil, format+"\n", args...), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
