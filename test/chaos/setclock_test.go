//go:build linux

package chaos

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/test/bench/ps"
)

// A Go program asks for the time of day in the vDSO, which is a page of code that
// the kernel maps into each process. Where it is written to, a process has its
// own copy: setClock puts a function there that asks the kernel and adds an
// offset, for CLOCK_REALTIME alone.

// clockCode is clock_gettime(edi clock, rsi result) for amd64; the eight bytes
// at clockOffset are the seconds that are added.
//
//	mov  eax, 228        ; the system call
//	syscall
//	test edi, edi        ; CLOCK_REALTIME is 0
//	jne  end
//	mov  rcx, seconds
//	add  [rsi], rcx
//	end: ret
var clockCode = []byte{
	0xb8, 0xe4, 0, 0, 0,
	0x0f, 0x05,
	0x85, 0xff,
	0x75, 0x0d,
	0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0,
	0x48, 0x01, 0x0e,
	0xc3,
}

const clockOffset = 13

// setClock sets the clock of all processes of this run that are gofork. Who is
// stopped or ends just now keeps his, and who is started later has the machine's.
func (r *run) setClock(by time.Duration) error {
	r.stopping.Lock()
	defer r.stopping.Unlock()
	for _, p := range r.marked() {
		// ENOENT, ENOTDIR: it ended. The children are another program.
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.PID)); err != nil || exe != r.bin.gofork || p.State == 'T' {
			continue
		}
		if err := r.setClockOf(p.PID, by); err != nil && p.Alive() {
			return fmt.Errorf("cannot set the clock of %v: %w", p, err)
		}
	}
	return nil
}

// trySettingClock sets the clock of a process that nobody needs.
func (r *run) trySettingClock() error {
	cmd := exec.Command(r.bin.child, "hold")
	cmd.Env = append(cleanEnv(), markEnv+"="+r.id)
	cmd.SysProcAttr = r.cmd.SysProcAttr
	if err := cmd.Start(); err != nil {
		return err
	}
	// exec has closed what Start waits for, and puts its environment there now.
	r.within(patience, "a child has its environment", func() bool { return ps.Environ(cmd.Process.Pid, markEnv) == r.id })
	err := r.setClockOf(cmd.Process.Pid, -time.Hour)
	return errors.Join(err, cmd.Process.Kill(), ended(cmd.Wait()))
}

// ended is nil for a process that ended by a signal.
func ended(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func (r *run) setClockOf(pid int, by time.Duration) error {
	if runtime.GOARCH != "amd64" {
		return errors.New("only known how on amd64, not on " + runtime.GOARCH)
	}
	if err := r.send(pid, unix.SIGSTOP); err != nil {
		return err
	}
	defer func() {
		// ESRCH: it was killed as it was.
		_ = r.send(pid, unix.SIGCONT)
	}()
	start, end, err := vdsoOf(pid)
	if err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		busy, err := runsIn(pid, start, end)
		if err != nil {
			return err
		}
		if !busy {
			break
		}
		if tries == 100 {
			return errors.New("it does not leave the vDSO, or does not stop")
		}
		pause(time.Millisecond) // SIGSTOP has not reached all threads, or one is in there
		if tries%10 == 9 {
			if err := errors.Join(r.send(pid, unix.SIGCONT), r.send(pid, unix.SIGSTOP)); err != nil {
				return err
			}
		}
	}

	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	image := make([]byte, end-start)
	if _, err := memory.ReadAt(image, start); err != nil {
		return err
	}
	at, err := clockIn(image)
	if err != nil {
		return err
	}
	seconds := int64(by / time.Second)
	if there := image[at:][:len(clockCode)]; bytes.HasPrefix(there, clockCode[:clockOffset]) {
		seconds += int64(binary.LittleEndian.Uint64(there[clockOffset:]))
	}
	code := bytes.Clone(clockCode)
	binary.LittleEndian.PutUint64(code[clockOffset:], uint64(seconds))
	_, err = memory.WriteAt(code, start+at)
	return err
}

// vdsoOf is where a process has its vDSO.
func vdsoOf(pid int) (start, end int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			_, err := fmt.Sscanf(line, "%x-%x", &start, &end)
			return start, end, err
		}
	}
	return 0, 0, errors.New("it has no vDSO")
}

// clockIn finds the function in the image of a vDSO.
func clockIn(image []byte) (int64, error) {
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, err
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" && s.Size >= uint64(len(clockCode)) {
			return int64(s.Value), nil
		}
	}
	return 0, errors.New("its vDSO has no clock_gettime that is long enough")
}

// runsIn reports whether a thread of a process runs at all, or would go on
// between two addresses.
func runsIn(pid int, start, end int64) (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(threads) == 0 {
		return false, errors.Join(err, errors.New("it has ended"))
	}
	for _, dir := range threads {
		tid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return false, err
		}
		if p, ok := ps.Lookup(tid); !ok || p.State != 'T' {
			return true, nil
		}
		data, err := os.ReadFile(dir + "/syscall")
		if err != nil {
			return false, err
		}
		fields := strings.Fields(string(data)) // the last is the program counter
		if len(fields) == 0 || fields[0] == "running" {
			return true, nil
		}
		pc, err := strconv.ParseInt(fields[len(fields)-1], 0, 64)
		if err != nil {
			return false, err
		}
		if start <= pc && pc < end {
			return true, nil
		}
	}
	return false, nil
}
