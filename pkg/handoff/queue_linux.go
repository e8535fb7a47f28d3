package handoff

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// skMeminfoDrops is SK_MEMINFO_DROPS of linux/sock_diag.h, an index into what
// SO_MEMINFO fills in.
const (
	skMeminfoDrops = 8
	skMeminfoVars  = 9
)

// Queue asks the kernel for the queue of a TCP socket; of a unix socket it does not
// tell.
func (l *Listener) Queue() (Queue, error) {
	if !strings.HasPrefix(l.addr, "tcp://") {
		return Queue{}, fmt.Errorf("cannot look into the queue of %s: only of a TCP socket", l.addr)
	}
	// Of a listening socket two fields of tcp_info have another meaning: see
	// tcp_get_info() in the kernel, which ss(8) shows as Recv-Q and Send-Q.
	info, err := unix.GetsockoptTCPInfo(l.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return Queue{}, fmt.Errorf("cannot look into the queue of %s: %w", l.addr, err)
	}
	q := Queue{Waiting: info.Unacked, Limit: info.Sacked}
	// Linux 4.12 and later; without it there are no drops to tell.
	var memory [skMeminfoVars]uint32
	length := uint32(unsafe.Sizeof(memory))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(l.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&memory)), uintptr(unsafe.Pointer(&length)), 0)
	if errno == 0 && length == uint32(unsafe.Sizeof(memory)) {
		q.Dropped = memory[skMeminfoDrops]
	}
	return q, nil
}
