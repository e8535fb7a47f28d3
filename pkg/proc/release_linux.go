package proc

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ReleaseProgram takes the pages of this program's code and constants out of its
// memory. The few that are still used come back by themselves, from the page
// cache; those that only the start needed do not, and the kernel may have them.
// Only mappings in which nothing was ever written are touched: they are the file.
func ReleaseProgram() {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return // it saves memory, and nothing else
	}
	defer f.Close()
	var from, to uintptr // of a mapping that may be released; 0 = not this one
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		switch {
		case len(fields) >= 6 && !strings.HasSuffix(fields[0], ":"):
			from, to = 0, 0
			if (fields[1] == "r-xp" || fields[1] == "r--p") && strings.HasPrefix(fields[5], "/") {
				from, to = span(fields[0])
			}
		case len(fields) >= 2 && fields[0] == "Anonymous:" && fields[1] == "0" && to > from:
			// An error leaves the mapping as it is.
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}

// span reads "55d0c000-55d0e000".
func span(s string) (from, to uintptr) {
	low, high, _ := strings.Cut(s, "-")
	a, err := strconv.ParseUint(low, 16, 64)
	if err != nil {
		return 0, 0
	}
	b, err := strconv.ParseUint(high, 16, 64)
	if err != nil {
		return 0, 0
	}
	return uintptr(a), uintptr(b)
}
