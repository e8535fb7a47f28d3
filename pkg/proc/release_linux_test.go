package proc

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// fileRSS is how much of files is in the memory of this process, in KiB.
func fileRSS(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestReleaseProgramGivesPagesBackAndTheProgramGoesOn(t *testing.T) {
	before := fileRSS(t)
	ReleaseProgram()
	after := fileRSS(t)
	if after > before*3/4 {
		t.Errorf("%d KiB of the program were in memory, and %d KiB still are", before, after)
	}
	if from, to := span("55d0c000-55d0e000"); from != 0x55d0c000 || to != 0x55d0e000 {
		t.Errorf("%x %x", from, to)
	}
	if from, to := span("x-y"); from != 0 || to != 0 {
		t.Errorf("%x %x", from, to)
	}
}
